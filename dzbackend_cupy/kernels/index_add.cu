// Addition of rows by index: out[index[k], j] += values[k, j], for k < n and j < width, both of `values` in C order.
//
// ATOMIC is the dtype as atomicAdd takes it, INDEX the index's. A thread adds one element. Sums of floats come in any
// order, so that their last bits vary from run to run. An index outside of [0, size) is left out.

extern "C" __global__ void index_add(ATOMIC* out, const INDEX* index, const ATOMIC* values, long long size,
                                     long long n, long long width) {
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n * width; i += step) {
        const long long row = (long long)index[i / width];
        if (0 <= row && row < size) {
            atomicAdd(out + row * width + i % width, values[i]);
        }
    }
}
