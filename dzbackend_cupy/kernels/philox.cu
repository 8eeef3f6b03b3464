// Random bits: Philox4x64-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11).
//
// Key (seed, 0), counters first, first + 1, ...; a counter gives four numbers of 64 bits, and each of them two words,
// the lower half first. One thread computes all eight words of a counter. Word i of the result is word i + skip of the
// stream that begins at counter `first`.

typedef unsigned long long u64;

extern "C" __global__ void philox(unsigned int* out, long long count, int skip, u64 first, u64 seed) {
    const long long blocks = (skip + count + 7) / 8;
    const long long step = (long long)gridDim.x * blockDim.x;
    for (long long b = (long long)blockIdx.x * blockDim.x + threadIdx.x; b < blocks; b += step) {
        u64 c0 = first + (u64)b, c1 = 0, c2 = 0, c3 = 0;  // 2**62 words are 2**59 counters: nothing is carried
        u64 k0 = seed, k1 = 0;
        for (int round = 0; round < 10; ++round) {
            const u64 low0 = c0 * 0xD2E7470EE14C6C93ull, high0 = __umul64hi(c0, 0xD2E7470EE14C6C93ull);
            const u64 low1 = c2 * 0xCA5A826395121157ull, high1 = __umul64hi(c2, 0xCA5A826395121157ull);
            c0 = high1 ^ c1 ^ k0;
            c2 = high0 ^ c3 ^ k1;
            c1 = low1;
            c3 = low0;
            k0 += 0x9E3779B97F4A7C15ull;
            k1 += 0xBB67AE8584CAA73Bull;
        }
        const u64 words[4] = {c0, c1, c2, c3};
        const long long start = b * 8 - skip;
        for (int w = 0; w < 8; ++w) {
            const long long i = start + w;
            if (0 <= i && i < count) {
                out[i] = (unsigned int)(words[w / 2] >> (32 * (w % 2)));
            }
        }
    }
}
