// y = x · Wᵀ for few rows of x: what a decode step's products with 4-bit weights come to.
//
//   y [M, N] f16 = x [M, K] f16 · W [N, K],   W = (code − 8) · scale, one f16 scale for 128 columns of a row
//
// Bytes read: K·N/2, once for every 64 rows of x. Codes go from memory to registers and are decoded there; a warp owns 32
// rows of W, so none is decoded twice. The columns of a product may be taken in any order: a lane takes the 32 that lie
// together in memory (16 bytes), and x is read in the same order. Splits of K meet in f32; the last to finish adds them.
//
// Compiled after ragged_attention.cu, whose helpers it uses. N and K are multiples of 128.

struct LinearArguments {
  const u16* x;
  /** `[N, K/128, 64]` codes, the even column in the low nibble, and `[N, K/128]`. */
  const u8* weight;
  const u16* scale;
  u16* y;
  /** `[splits, M, N]`, and a zero for every 128 rows of W and block of rows of x. */
  float* partial;
  int* arrived;
  int M, N, K, splits;
};

#define KV_LINEAR_THREADS 128
#define KV_LINEAR_AHEAD 3

KV_DEVICE u32 mul2(u32 a, u32 b) {
  u32 y;
  asm("mul.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
}

/** Where 16-byte chunk `chunk` (0 to 15) of a row of x lies: what a warp reads at once falls into different banks. */
KV_DEVICE u32 linearOffset(int row, int chunk) { return (u32)(row * 256 + ((chunk ^ ((row & 3) << 1) ^ (chunk >> 3)) << 4)); }

/** Grid: N/128 × splits × blocks of MT·16 rows of x. */
template <int MT> KV_DEVICE void int4Linear(const LinearArguments& a) {
  extern __shared__ __align__(128) u8 shared[];
  const int AHEAD = KV_LINEAR_AHEAD, BM = MT * 16, STAGE = BM * 256;
  const int lane = threadIdx.x & 31, warp = threadIdx.x / 32, quad = lane & 3;
  const int firstRow = blockIdx.z * BM, rows = min(BM, a.M - firstRow), firstN = blockIdx.x * 128 + warp * 32;
  const int chunks = a.K / 128, from = chunks * blockIdx.y / a.splits, count = chunks * (blockIdx.y + 1) / a.splits - from;
  const u8* weight = a.weight + (u64)(firstN + (lane >> 2)) * (a.K / 2) + from * 64 + quad * 16;
  const u16* scale = a.scale + (u64)(firstN + (lane >> 2)) * chunks + from;
  const u16* x = a.x + (u64)firstRow * a.K + from * 128;
  const u32 sharedAt = sharedAddress(shared);

  uint4 code[AHEAD][4];
  u16 factor[AHEAD][4];
  auto fetch = [&](int chunk, uint4 (&to)[4], u16 (&s)[4]) {
    if (chunk >= count) return;
#pragma unroll
    for (int n = 0; n < 4; n++) {
      const u8* at = weight + (u64)n * 8 * (a.K / 2) + chunk * 64;
      asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0,%1,%2,%3}, [%4];"
                   : "=r"(to[n].x), "=r"(to[n].y), "=r"(to[n].z), "=r"(to[n].w) : "l"(at));
      s[n] = scale[(u64)n * 8 * chunks + chunk];
    }
  };
  auto fetchRows = [&](int chunk) {
    if (chunk < count) {
#pragma unroll
      for (int pass = 0; pass < BM * 16 / KV_LINEAR_THREADS; pass++) {
        const int i = pass * KV_LINEAR_THREADS + threadIdx.x, row = i / 16, at = i % 16;
        const bool there = row < rows;
        copyAsync16(sharedAt + chunk % AHEAD * STAGE + linearOffset(row, at), x + (there ? (u64)row * a.K + chunk * 128 + at * 8 : 0), there ? 16 : 0);
      }
    }
    commitCopies();
  };
#pragma unroll
  for (int i = 0; i < AHEAD; i++) fetch(i, code[i], factor[i]);
#pragma unroll
  for (int i = 0; i < AHEAD - 1; i++) fetchRows(i);

  float acc[MT][4][4];
#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int n = 0; n < 4; n++) acc[m][n][0] = acc[m][n][1] = acc[m][n][2] = acc[m][n][3] = 0.f;
  for (int first = 0; first < count; first += AHEAD) {
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
      const int chunk = first + i;
      if (chunk >= count) break;
      waitForCopies<AHEAD - 2>();
      __syncthreads();
      fetchRows(chunk + AHEAD - 1);
      const u8* tile = shared + i * STAGE;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        u32 b[4][4];
#pragma unroll
        for (int n = 0; n < 4; n++) {
          const u32 c = j == 0 ? code[i][n].x : j == 1 ? code[i][n].y : j == 2 ? code[i][n].z : code[i][n].w;
          const u32 s = __byte_perm(factor[i][n], 0, 0x1010);
          const u32 p = (c & 0x000f000fu) | 0x64006400u, q = ((c >> 4) & 0x000f000fu) | 0x64006400u;
          const u32 r = ((c >> 8) & 0x000f000fu) | 0x64006400u, t = ((c >> 12) & 0x000f000fu) | 0x64006400u;
          // 1024 + code, less 1032
          b[n][0] = mul2(sub2(__byte_perm(p, q, 0x5410), 0x64086408u), s);
          b[n][1] = mul2(sub2(__byte_perm(r, t, 0x5410), 0x64086408u), s);
          b[n][2] = mul2(sub2(__byte_perm(p, q, 0x7632), 0x64086408u), s);
          b[n][3] = mul2(sub2(__byte_perm(r, t, 0x7632), 0x64086408u), s);
        }
#pragma unroll
        for (int m = 0; m < MT; m++) {
          const int row = m * 16 + (lane >> 2);
          const uint4 low = *(const uint4*)(tile + linearOffset(row, quad * 4 + j)), high = *(const uint4*)(tile + linearOffset(row + 8, quad * 4 + j));
          const u32 even[4] = {low.x, high.x, low.y, high.y}, odd[4] = {low.z, high.z, low.w, high.w};
#pragma unroll
          for (int n = 0; n < 4; n++) {
            mma<HALF>(acc[m][n], even, b[n][0], b[n][1]);
            mma<HALF>(acc[m][n], odd, b[n][2], b[n][3]);
          }
        }
      }
      fetch(chunk + AHEAD, code[i], factor[i]);
    }
  }

  auto store = [&](int m, int n, int j, float p, float q) {
    const int row = m * 16 + j * 8 + (lane >> 2);
    if (row < rows) *(u32*)(a.y + (u64)(firstRow + row) * a.N + firstN + n * 8 + quad * 2) = pack2<HALF>(p, q);
  };
  if (a.splits == 1) {
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
      for (int n = 0; n < 4; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) store(m, n, j, acc[m][n][2 * j], acc[m][n][2 * j + 1]);
    return;
  }
  auto part = [&](int split, int m, int n, int j) {
    return (float2*)(a.partial + ((u64)split * a.M + firstRow + m * 16 + j * 8 + (lane >> 2)) * a.N + firstN + n * 8 + quad * 2);
  };
#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
      for (int j = 0; j < 2; j++) {
        if (m * 16 + j * 8 + (lane >> 2) >= rows) continue;
        float2 two;
        two.x = acc[m][n][2 * j], two.y = acc[m][n][2 * j + 1];
        *part(blockIdx.y, m, n, j) = two;
      }
  __threadfence();
  __syncthreads();
  __shared__ int last;
  if (threadIdx.x == 0) {
    int* arrived = a.arrived + blockIdx.z * gridDim.x + blockIdx.x;
    last = atomicAdd(arrived, 1) == a.splits - 1;
    if (last) *arrived = 0;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
#pragma unroll
  for (int m = 0; m < MT; m++)
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
      for (int j = 0; j < 2; j++) {
        if (m * 16 + j * 8 + (lane >> 2) >= rows) continue;
        float p = 0.f, q = 0.f;
#pragma unroll 4
        for (int split = 0; split < a.splits; split++) {
          float2 two;
          asm volatile("ld.global.cg.v2.f32 {%0, %1}, [%2];" : "=f"(two.x), "=f"(two.y) : "l"(part(split, m, n, j)));
          p += two.x, q += two.y;
        }
        store(m, n, j, p, q);
      }
}

#ifdef KV_LINEAR_MT
extern "C" __global__ void __launch_bounds__(KV_LINEAR_THREADS) int4_linear(const __grid_constant__ LinearArguments arguments) {
  int4Linear<KV_LINEAR_MT>(arguments);
}
#endif
