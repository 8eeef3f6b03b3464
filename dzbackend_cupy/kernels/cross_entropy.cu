// Softmax cross-entropy: the mean of log(sum_j exp(x_j)) - x_t over the rows of x (n, classes), and its gradient.
//
// T is the dtype of x, ACC the type to compute in, INDEX that of t. TEAM threads (a power of two) do one row, and
// BLOCK / TEAM rows go to a block. They meet in shared memory behind barriers, which every thread of the block reaches
// equally often, so that the width of a warp does not matter. x has any strides, given in elements.

// Combine the values of a team, of each thread one, by halves. Everyone gets the result.
template <typename Combine>
__device__ ACC over_team(ACC value, Combine combine) {
    __shared__ ACC shared[BLOCK];
    const int me = threadIdx.x, member = me % TEAM;
    shared[me] = value;
    __syncthreads();
    for (int half = TEAM / 2; half > 0; half /= 2) {
        if (member < half) {
            shared[me] = combine(shared[me], shared[me + half]);
        }
        __syncthreads();
    }
    const ACC result = shared[me - member];
    __syncthreads();
    return result;
}

struct Larger {  // a nan may get lost here; it is in the sum of its row all the same
    __device__ ACC operator()(ACC a, ACC b) const { return a > b ? a : b; }
};

struct Sum {
    __device__ ACC operator()(ACC a, ACC b) const { return a + b; }
};

struct Rows {
    const T* x;
    long long n, classes, row_stride, column_stride;
    __device__ ACC at(long long row, long long column) const {
        return ACC(x[row * row_stride + column * column_stride]);
    }
};

// The largest element of a row, and the sum of exp(x_j - largest). Rows from n on have neither, but take part.
__device__ void maximum_and_sum(const Rows& rows, long long row, ACC* largest, ACC* total) {
    const long long classes = row < rows.n ? rows.classes : 0;
    ACC most = -ACC(INF);
    for (long long j = threadIdx.x % TEAM; j < classes; j += TEAM) {
        most = Larger()(most, rows.at(row, j));
    }
    most = over_team(most, Larger());
    ACC sum = ACC(0);
    for (long long j = threadIdx.x % TEAM; j < classes; j += TEAM) {
        sum += exp(rows.at(row, j) - most);
    }
    *largest = most;
    *total = over_team(sum, Sum());
}

// `losses` takes one value a row. `finished`, 0 at the start, counts the blocks: the last one adds up all rows, in an
// order that depends on nothing but n.
extern "C" __global__ void cross_entropy(T* out, ACC* losses, unsigned int* finished, const T* x, const INDEX* t,
                                         long long n, long long classes, long long row_stride,
                                         long long column_stride) {
    const Rows rows = {x, n, classes, row_stride, column_stride};
    const long long step = (long long)gridDim.x * (BLOCK / TEAM);
    for (long long first = (long long)blockIdx.x * (BLOCK / TEAM); first < n; first += step) {
        const long long row = first + threadIdx.x / TEAM;
        ACC largest, total;
        maximum_and_sum(rows, row, &largest, &total);
        if (row < n && threadIdx.x % TEAM == 0) {
            const long long right = (long long)t[row];
            const bool exists = 0 <= right && right < classes;
            losses[row] = exists ? log(total) - (rows.at(row, right) - largest) : ACC(INF - INF);
        }
    }
    __shared__ bool last;
    __threadfence();  // this block's losses, before it is counted
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(finished, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) {
        return;
    }
    __threadfence();
    __shared__ ACC sums[BLOCK];
    ACC sum = ACC(0);
    for (long long row = threadIdx.x; row < n; row += BLOCK) {
        sum += ((volatile ACC*)losses)[row];
    }
    sums[threadIdx.x] = sum;
    __syncthreads();
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            sums[threadIdx.x] += sums[threadIdx.x + half];
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        *out = T(sums[0] / ACC(n));
    }
}

// (softmax(x) - one_hot(t)) * gy / n; nan in the row of a class that does not exist.
extern "C" __global__ void cross_entropy_gradient(T* out, const T* gy, const T* x, const INDEX* t, long long n,
                                                  long long classes, long long row_stride, long long column_stride) {
    const Rows rows = {x, n, classes, row_stride, column_stride};
    const ACC factor = ACC(*gy) / ACC(n);
    const long long step = (long long)gridDim.x * (BLOCK / TEAM);
    for (long long first = (long long)blockIdx.x * (BLOCK / TEAM); first < n; first += step) {
        const long long row = first + threadIdx.x / TEAM;
        ACC largest, total;
        maximum_and_sum(rows, row, &largest, &total);
        if (row < n) {
            const long long right = (long long)t[row];
            const ACC rate = 0 <= right && right < classes ? factor : ACC(INF - INF);
            for (long long j = threadIdx.x % TEAM; j < classes; j += TEAM) {
                const ACC p = exp(rows.at(row, j) - largest) / total;
                out[row * classes + j] = T((p - ACC(j == right)) * rate);
            }
        }
    }
}
