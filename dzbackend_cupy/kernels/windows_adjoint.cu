// Sliding windows added back to where they came from: (lead, *size, *out) to (lead, *spatial), for RANK axes.
//
// SIZE(a), STRIDE(a), DILATION(a) are those of the layer and known when this is compiled; the extents of the data are
// not. A thread makes one element of the result: it looks for the places in the windows that it came to, along one axis
// after the other. Nothing is written twice, so nothing has to be atomic and the order of the sum is fixed.

struct Extents {
    long long spatial[RANK];  // of the result
    long long out[RANK];      // how many windows there are
};

// Sum over the axes from AXIS on. `place` is where the thread's element lies on each axis, and `at` the place in the
// columns of one lead, in C order, as far as the axes before AXIS say: the windows' part of it, and the outs' part.
template <int AXIS>
struct Fold {
    static __device__ ACC sum(const T* columns, const Extents& x, const long long* place, long long at_size,
                              long long at_out, long long outs) {
        ACC total = ACC(0);
        for (int k = 0; k < SIZE(AXIS); ++k) {
            const long long start = place[AXIS] - (long long)k * DILATION(AXIS);
            if (start >= 0 && start % STRIDE(AXIS) == 0 && start / STRIDE(AXIS) < x.out[AXIS]) {
                total = ACC(total + Fold<AXIS + 1>::sum(columns, x, place, at_size * SIZE(AXIS) + k,
                                                        at_out * x.out[AXIS] + start / STRIDE(AXIS), outs));
            }
        }
        return total;
    }
};

template <>
struct Fold<RANK> {
    static __device__ ACC sum(const T* columns, const Extents&, const long long*, long long at_size, long long at_out,
                              long long outs) {
        return ACC(columns[at_size * outs + at_out]);
    }
};

extern "C" __global__ void windows_adjoint(T* result, const T* columns, long long lead, const Extents x) {
    long long area = 1, outs = 1, sizes = 1;
    for (int a = 0; a < RANK; ++a) {
        area *= x.spatial[a];
        outs *= x.out[a];
        sizes *= SIZE(a);
    }
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < lead * area; i += step) {
        long long place[RANK], rest = i;
        for (int a = RANK - 1; a >= 0; --a) {
            place[a] = rest % x.spatial[a];
            rest /= x.spatial[a];
        }
        result[i] = T(Fold<0>::sum(columns + rest * sizes * outs, x, place, 0, 0, outs));
    }
}
