// Addition of rows by index, as in index_add.cu, in the order of the rows: the same sum whenever it is made, and for
// every dtype T; ACC is the type that sums are kept in.
//
// The places [starts[row], ends[row]) of `order` hold the numbers of the rows of `values` (in C order) whose index is
// `row`. A thread makes one element of the result.

extern "C" __global__ void index_add_sorted(T* out, const long long* order, const long long* starts,
                                            const long long* ends, const T* values, long long size, long long width) {
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < size * width; i += step) {
        const long long row = i / width, column = i % width;
        ACC sum = ACC(0);
        for (long long k = starts[row]; k < ends[row]; ++k) {
            sum = ACC(sum + ACC(values[order[k] * width + column]));
        }
        out[i] = T(sum);
    }
}
