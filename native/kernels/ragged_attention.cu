// Attention of many queries over one shared, per-head ragged context, and over each sequence's own suffix.
//
//   out[t, h] = softmax(scale · q[t, h] · [K_context(h / G) ; K_suffix(b(t), h / G)]ᵀ) · [V_context ; V_suffix]
//
// The context of a KV head is a run of rows of one flat buffer, of any length, 0 included. Three kernels:
//
//   rope_append    turns queries and new keys by their positions, appends new keys and values to the suffixes
//   ragged_part    one item (a run of one head's context rows × a block of query rows) → partial output and log-sum-exp
//   suffix_merge   attention over the suffix, merged with the partial outputs of the context
//
// Rows of a head are (token, query head of the group): rows = B·T·G. Tensor cores for all of them (mma m16n8k16,
// sm_80 and later). Context rows are f16, bf16, or 8/4-bit codes as KVault's codecs store them (a scale and a zero
// per 64 channels of a row, or per channel of 64 rows of a head), decoded on the way to shared memory.
// Bytes read per step: every context row once per block of BM query rows. Operations: 4 · rows · N · D.
//
// No header is included: the same text goes to nvcc (tests) and to NVRTC (the runtime).

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define KV_DEVICE __device__ __forceinline__

// ---------------------------------------------------------------------------------------- numbers

enum Element { HALF = 0, BFLOAT = 1 };

template <int E> KV_DEVICE float toFloat(u16 x) {
  float y;
  if (E == HALF) asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
  else y = __uint_as_float((u32)x << 16);
  return y;
}

template <int E> KV_DEVICE u32 pack2(float low, float high) {
  u32 y;
  if (E == HALF) asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  else asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

template <int E> KV_DEVICE u16 toElement(float x) { return (u16)pack2<E>(x, 0.f); }

/** Eight elements of 16 bytes as floats. */
template <int E> KV_DEVICE void unpack8(float (&out)[8], const uint4& word) {
  const u32 words[4] = {word.x, word.y, word.z, word.w};
#pragma unroll
  for (int i = 0; i < 4; i++) out[2 * i] = toFloat<E>((u16)words[i]), out[2 * i + 1] = toFloat<E>((u16)(words[i] >> 16));
}

KV_DEVICE float exp2Fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

KV_DEVICE u32 sub2(u32 a, u32 b) {
  u32 y;
  asm("sub.f16x2 %0, %1, %2;" : "=r"(y) : "r"(a), "r"(b));
  return y;
}

KV_DEVICE u32 fma2(u32 a, u32 b, u32 c) {
  u32 y;
  asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(y) : "r"(a), "r"(b), "r"(c));
  return y;
}

/** c += a · b, 16×16 by 16×8. */
template <int E> KV_DEVICE void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  if (E == HALF)
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// ---------------------------------------------------------------------------------------- shared memory

KV_DEVICE u32 sharedAddress(const void* p) {
  u64 a;
  asm("cvta.to.shared.u64 %0, %1;" : "=l"(a) : "l"(p));
  return (u32)a;
}

KV_DEVICE void loadMatrix4(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

KV_DEVICE void loadMatrix4Transposed(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(address) : "memory");
}

/** 16 bytes to shared memory, in the background; zeros where `bytes` is 0. */
KV_DEVICE void copyAsync16(u32 to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}

/** Lets the next kernel start, and waits for the one before, where launches were told so. */
KV_DEVICE void letNextKernelStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
KV_DEVICE void waitForEarlierKernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

KV_DEVICE void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> KV_DEVICE void waitForCopies() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

/** Where 16-byte chunk `chunk` of `row` lies in a tile: rows 8 apart share banks, 8 neighbours do not. */
template <int D> KV_DEVICE u32 tileOffset(int row, int chunk) { return (u32)(row * D * 2 + ((chunk ^ (row & 7)) << 4)); }

// ---------------------------------------------------------------------------------------- the context

/** Rows of context that one tile holds; also the tokens (keys) or channels (values) that share a scale. */
#define KV_TILE 64
#define KV_GROUP 64
/** Ints of one item. */
#define KV_ITEM 8

/** What ragged_part reads and writes. */
struct RaggedContext {
  /** Rows `[N, D]` as elements or packed codes. */
  const u8* key;
  const u8* value;
  /** f16 `[N, D/64]` (along channels) or `[groups, D]` (along tokens); unused for elements. */
  const u16* keyScale;
  const u16* keyZero;
  const u16* valueScale;
  const u16* valueZero;
  /** `[items, 8]`: KV head, first row, rows, first query row, query rows, first token group, 0, 0. An item of no query rows does nothing. */
  const int* items;
};

struct RaggedQueries {
  /** `[tokens, stride]`, head h of a token at `h · D`. */
  const u16* query;
  int stride;
  /** Query heads of a KV head. */
  int group;
  /** log2(e) / √D. */
  float scale;
  /** `[items, rowCapacity, D]` f16 or bf16 and `[items, rowCapacity]`: outputs divided by their sum, log2 of the sum. */
  u16* partial;
  float* logSum;
  int rowCapacity;
};

/**
 * Sizes of one variant: WM × WN warps, each of MT · 16 query rows and TILE / WN context rows of a tile;
 * STAGES tiles in flight; elements E; bits of keys and values; whether key scales run along tokens.
 */
template <int D_, int WM_, int WN_, int MT_, int STAGES_, int E_, int KEY_BITS_, int VALUE_BITS_, bool KEY_TOKENS_> struct Variant {
  static const int D = D_, WM = WM_, WN = WN_, MT = MT_, STAGES = STAGES_, E = E_;
  static const int KEY_BITS = KEY_BITS_, VALUE_BITS = VALUE_BITS_;
  static const bool KEY_TOKENS = KEY_TOKENS_, CODED = KEY_BITS_ < 16;
  static const int THREADS = WM * WN * 32, BM = WM * MT * 16;
  static const int KEY_ROW = D * KEY_BITS / 8, VALUE_ROW = D * VALUE_BITS / 8;
  static const int KEY_BYTES = KV_TILE * KEY_ROW, VALUE_BYTES = KV_TILE * VALUE_ROW;
  static const int STAGE_BYTES = KEY_BYTES + VALUE_BYTES;
  static const int TILE_BYTES = KV_TILE * D * 2;
  /** Scales of a tile: (scale, zero) pairs of 4 bytes. */
  static const int PER_ROW = D / KV_GROUP, ROW_SCALES = KV_TILE * PER_ROW;
  static const int KEY_SCALES = KEY_TOKENS ? D : ROW_SCALES;
  static const int SCALE_BYTES = CODED ? 2 * (KEY_SCALES + ROW_SCALES) * 4 : 0;
  /** Two decoded tiles of keys and values: one is read while the next is written. */
  static const int DECODED_BYTES = CODED ? 4 * TILE_BYTES : 0;
  /** Queries kept in registers pass through memory that decoded tiles take over. */
  static const int QUERY_BYTES = CODED && MT == 1 ? 0 : BM * D * 2;
  static const int MERGE_BYTES = WN > 1 ? WN * BM * (D + 2) * 4 : 0;
  static const int LOOP_BYTES = STAGES * STAGE_BYTES + DECODED_BYTES + SCALE_BYTES;
  static const int SHARED_BYTES = QUERY_BYTES + (LOOP_BYTES > MERGE_BYTES ? LOOP_BYTES : MERGE_BYTES);
};

/** Copies rows of `ROW` bytes to shared memory; elements go to their swizzled places, codes stay in order. Rows past `rows` become 0. */
template <class V, int ROW, bool SWIZZLED> KV_DEVICE void copyRows(u32 to, const u8* from, int rows) {
  const int CHUNKS = ROW / 16;
#pragma unroll
  for (int pass = 0; pass < (KV_TILE * CHUNKS + V::THREADS - 1) / V::THREADS; pass++) {
    const int i = pass * V::THREADS + threadIdx.x;
    if (KV_TILE * CHUNKS % V::THREADS != 0 && i >= KV_TILE * CHUNKS) break;
    const int row = i / CHUNKS, chunk = i % CHUNKS;
    const bool there = row < rows;
    const u32 offset = SWIZZLED ? tileOffset<V::D>(row, chunk) : (u32)(i * 16);
    copyAsync16(to + offset, from + (there ? (u64)row * ROW + chunk * 16 : 0), there ? 16 : 0);
  }
}

/** Eight codes → eight halves, `zero + scale · code` each, rounded once. */
template <int BITS> KV_DEVICE void decode8(const u32* codes, const u32 (&scale)[4], const u32 (&zero)[4], u32 (&out)[4]) {
  u32 c[4];
  if (BITS == 4) {
    // 1024 + code in each half: codes (0,4) (1,5) (2,6) (3,7), then put in order
    const u32 x = codes[0];
    const u32 a = (x & 0x000f000fu) | 0x64006400u, b = ((x >> 4) & 0x000f000fu) | 0x64006400u;
    const u32 d = ((x >> 8) & 0x000f000fu) | 0x64006400u, e = ((x >> 12) & 0x000f000fu) | 0x64006400u;
    c[0] = __byte_perm(a, b, 0x5410);
    c[1] = __byte_perm(d, e, 0x5410);
    c[2] = __byte_perm(a, b, 0x7632);
    c[3] = __byte_perm(d, e, 0x7632);
  } else {
    c[0] = __byte_perm(codes[0], 0x64646464u, 0x4140);
    c[1] = __byte_perm(codes[0], 0x64646464u, 0x4342);
    c[2] = __byte_perm(codes[1], 0x64646464u, 0x4140);
    c[3] = __byte_perm(codes[1], 0x64646464u, 0x4342);
  }
#pragma unroll
  for (int i = 0; i < 4; i++) out[i] = fma2(sub2(c[i], 0x64006400u), scale[i], zero[i]);
}

/** Decodes a tile of codes into a swizzled tile of halves. */
template <class V, int BITS, bool TOKENS> KV_DEVICE void decodeTile(u8* tile, const u8* codes, const u32* scales) {
  const int CHUNKS = V::D / 8;
  const int chunk = threadIdx.x % CHUNKS;
  u32 scale[4], zero[4];
  if (TOKENS) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const u32 a = scales[chunk * 8 + 2 * i], b = scales[chunk * 8 + 2 * i + 1];
      scale[i] = __byte_perm(a, b, 0x5410);
      zero[i] = __byte_perm(a, b, 0x7632);
    }
  }
  const int PASSES = KV_TILE * CHUNKS / V::THREADS, first = threadIdx.x / CHUNKS;
  u32 packed[PASSES][2], bounds[PASSES];
#pragma unroll
  for (int pass = 0; pass < PASSES; pass++) {
    const int row = pass * (V::THREADS / CHUNKS) + first;
    const u8* from = codes + row * (V::D * BITS / 8) + chunk * BITS;
    packed[pass][0] = *(const u32*)from;
    if (BITS == 8) packed[pass][1] = *(const u32*)(from + 4);
    if (!TOKENS) bounds[pass] = scales[row * V::PER_ROW + chunk * 8 / KV_GROUP];
  }
#pragma unroll
  for (int pass = 0; pass < PASSES; pass++) {
    const int row = pass * (V::THREADS / CHUNKS) + first;
    if (!TOKENS) {
      const u32 s = __byte_perm(bounds[pass], 0, 0x1010), z = __byte_perm(bounds[pass], 0, 0x3232);
#pragma unroll
      for (int i = 0; i < 4; i++) scale[i] = s, zero[i] = z;
    }
    u32 out[4];
    decode8<BITS>(packed[pass], scale, zero, out);
    uint4 word;
    word.x = out[0], word.y = out[1], word.z = out[2], word.w = out[3];
    *(uint4*)(tile + tileOffset<V::D>(row, chunk)) = word;
  }
}

/** The scales of one tile on their way through registers: read one tile ahead. */
template <class V> struct TileScales {
  static const int KEYS = (V::KEY_SCALES + V::THREADS - 1) / V::THREADS;
  static const int VALUES = (V::ROW_SCALES + V::THREADS - 1) / V::THREADS;
  u32 key[KEYS], value[VALUES];

  KV_DEVICE void load(const RaggedContext& c, int firstRow, int rows, int tokenGroup) {
#pragma unroll
    for (int i = 0; i < KEYS; i++) {
      const int at = threadIdx.x + i * V::THREADS;
      const bool there = at < V::KEY_SCALES && (V::KEY_TOKENS || at < rows * V::PER_ROW);
      const u64 from = V::KEY_TOKENS ? (u64)tokenGroup * V::D + at : (u64)firstRow * V::PER_ROW + at;
      key[i] = there ? (u32)c.keyScale[from] | (u32)c.keyZero[from] << 16 : 0u;
    }
#pragma unroll
    for (int i = 0; i < VALUES; i++) {
      const int at = threadIdx.x + i * V::THREADS;
      const bool there = at < V::ROW_SCALES && at < rows * V::PER_ROW;
      const u64 from = (u64)firstRow * V::PER_ROW + at;
      value[i] = there ? (u32)c.valueScale[from] | (u32)c.valueZero[from] << 16 : 0u;
    }
  }

  KV_DEVICE void store(u32* keys, u32* values) const {
#pragma unroll
    for (int i = 0; i < KEYS; i++)
      if (threadIdx.x + i * V::THREADS < V::KEY_SCALES) keys[threadIdx.x + i * V::THREADS] = key[i];
#pragma unroll
    for (int i = 0; i < VALUES; i++)
      if (threadIdx.x + i * V::THREADS < V::ROW_SCALES) values[threadIdx.x + i * V::THREADS] = value[i];
  }
};

/** Output rows of one warp with their running maximum (of raw products) and sum. */
template <class V> struct WarpRows {
  float out[V::MT][V::D / 8][4];
  float max[V::MT][2], sum[V::MT][2];
};

/** The maximum is raised, and what was summed rescaled, only where it grew by this factor (log2): sums stay below 2^8 of their maximum. */
#define KV_LAZY 8.f

/** Adds SB context rows from `row` of the tile on to this warp's rows. */
template <class V, int SB>
KV_DEVICE void attend(WarpRows<V>& rows, const u32 (*held)[V::D / 16][4], u32 queries, u32 keys, u32 values, int row, int rowsLeft, float scale) {
  const int lane = threadIdx.x & 31;
  float s[V::MT][SB / 8][4];
#pragma unroll
  for (int m = 0; m < V::MT; m++)
#pragma unroll
    for (int n = 0; n < SB / 8; n++) s[m][n][0] = s[m][n][1] = s[m][n][2] = s[m][n][3] = 0.f;
  const u32 keyRow = keys + (u32)(row + ((lane >> 4) << 3) + (lane & 7)) * V::D * 2;
  const u32 valueRow = values + (u32)(row + (lane & 15)) * V::D * 2;
  const u32 swizzle = lane & 7;
#pragma unroll
  for (int k = 0; k < V::D / 16; k++) {
    u32 a[V::MT][4];
#pragma unroll
    for (int m = 0; m < V::MT; m++) {
      if (V::MT == 1) {
#pragma unroll
        for (int i = 0; i < 4; i++) a[m][i] = held[m][k][i];
      } else loadMatrix4(a[m], queries + (u32)(m * 16 + (lane & 15)) * V::D * 2 + (((u32)(k * 2 + (lane >> 4)) ^ swizzle) << 4));
    }
#pragma unroll
    for (int n = 0; n < SB / 16; n++) {
      u32 b[4];
      loadMatrix4(b, keyRow + n * 16 * V::D * 2 + (((u32)(k * 2 + ((lane >> 3) & 1)) ^ swizzle) << 4));
#pragma unroll
      for (int m = 0; m < V::MT; m++) {
        mma<V::E>(s[m][2 * n], a[m], b[0], b[1]);
        mma<V::E>(s[m][2 * n + 1], a[m], b[2], b[3]);
      }
    }
  }
  if (rowsLeft < SB) {
#pragma unroll
    for (int n = 0; n < SB / 8; n++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (n * 8 + (lane & 3) * 2 + (i & 1) >= rowsLeft)
#pragma unroll
          for (int m = 0; m < V::MT; m++) s[m][n][i] = __int_as_float(0xff800000);
  }
  bool raise = false;
  float top[V::MT][2];
#pragma unroll
  for (int m = 0; m < V::MT; m++)
#pragma unroll
    for (int j = 0; j < 2; j++) {
      float x = s[m][0][2 * j];
#pragma unroll
      for (int n = 0; n < SB / 8; n++) x = fmaxf(x, fmaxf(s[m][n][2 * j], s[m][n][2 * j + 1]));
      x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
      x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
      top[m][j] = x;
      raise |= (x - rows.max[m][j]) * scale > KV_LAZY;
    }
  if (__any_sync(0xffffffffu, raise)) {
#pragma unroll
    for (int m = 0; m < V::MT; m++)
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const float grown = fmaxf(rows.max[m][j], top[m][j]);
        const float factor = exp2Fast((rows.max[m][j] - grown) * scale);
        rows.max[m][j] = grown;
        rows.sum[m][j] *= factor;
#pragma unroll
        for (int d = 0; d < V::D / 8; d++) rows.out[m][d][2 * j] *= factor, rows.out[m][d][2 * j + 1] *= factor;
      }
  }
  u32 p[V::MT][SB / 16][4];
#pragma unroll
  for (int m = 0; m < V::MT; m++) {
    const float low = rows.max[m][0] * scale, high = rows.max[m][1] * scale;
#pragma unroll
    for (int n = 0; n < SB / 8; n++) {
      const float p0 = exp2Fast(s[m][n][0] * scale - low), p1 = exp2Fast(s[m][n][1] * scale - low);
      const float p2 = exp2Fast(s[m][n][2] * scale - high), p3 = exp2Fast(s[m][n][3] * scale - high);
      rows.sum[m][0] += p0 + p1;
      rows.sum[m][1] += p2 + p3;
      p[m][n / 2][(n & 1) * 2] = pack2<V::E>(p0, p1);
      p[m][n / 2][(n & 1) * 2 + 1] = pack2<V::E>(p2, p3);
    }
  }
#pragma unroll
  for (int n = 0; n < SB / 16; n++)
#pragma unroll
    for (int d = 0; d < V::D / 16; d++) {
      u32 b[4];
      loadMatrix4Transposed(b, valueRow + n * 16 * V::D * 2 + (((u32)(d * 2 + (lane >> 4)) ^ swizzle) << 4));
#pragma unroll
      for (int m = 0; m < V::MT; m++) {
        mma<V::E>(rows.out[m][2 * d], p[m][n], b[0], b[1]);
        mma<V::E>(rows.out[m][2 * d + 1], p[m][n], b[2], b[3]);
      }
    }
}

template <class V> KV_DEVICE void raggedPart(const RaggedContext& context, const RaggedQueries& queries) {
  extern __shared__ __align__(128) u8 shared[];
  const int item = blockIdx.x;
  const int* it = context.items + item * KV_ITEM;
  const int head = it[0], firstRow = it[1], numRows = it[2], numQueries = it[4] - blockIdx.y * V::BM, firstGroup = it[5];
  letNextKernelStart();
  if (numQueries <= 0) return;
  const int firstLocal = blockIdx.y * V::BM, firstQuery = it[3] + firstLocal;
  const int warp = threadIdx.x / 32, lane = threadIdx.x & 31;
  const int warpM = warp % V::WM, warpN = warp / V::WM;
  const int D = V::D;

  u8* stages = shared + V::QUERY_BYTES;
  u8* decoded = stages + V::STAGES * V::STAGE_BYTES;
  u32* tileScales = (u32*)(decoded + V::DECODED_BYTES);
  const u32 stagesAt = sharedAddress(stages), decodedAt = sharedAddress(decoded);
  u8* queryTile = V::QUERY_BYTES == 0 ? decoded : shared;
  const u32 queriesAt = sharedAddress(queryTile);

  const int numTiles = (numRows + KV_TILE - 1) / KV_TILE;
  const u8* key = context.key + (u64)firstRow * V::KEY_ROW;
  const u8* value = context.value + (u64)firstRow * V::VALUE_ROW;
  auto fetch = [&](int tile) {
    if (tile < numTiles) {
      const int rows = numRows - tile * KV_TILE;
      const u32 to = stagesAt + (tile % V::STAGES) * V::STAGE_BYTES;
      copyRows<V, V::KEY_ROW, !V::CODED>(to, key + (u64)tile * V::KEY_BYTES, rows);
      copyRows<V, V::VALUE_ROW, !V::CODED>(to + V::KEY_BYTES, value + (u64)tile * V::VALUE_BYTES, rows);
    }
    commitCopies();
  };
  // coded tiles are decoded one ahead of their use, so one more is on its way from the start
#pragma unroll
  for (int i = 0; i < V::STAGES - (V::CODED ? 0 : 1); i++) fetch(i);
  TileScales<V> scales;
  auto fetchScales = [&](int tile) {
    if (V::CODED && tile < numTiles) scales.load(context, firstRow + tile * KV_TILE, numRows - tile * KV_TILE, firstGroup + tile);
  };
  auto decode = [&](int tile) {
    const u8* stage = stages + (tile % V::STAGES) * V::STAGE_BYTES;
    u8* to = decoded + (tile & 1) * 2 * V::TILE_BYTES;
    const u32* from = tileScales + (tile & 1) * (V::KEY_SCALES + V::ROW_SCALES);
    decodeTile<V, V::KEY_BITS, V::KEY_TOKENS>(to, stage, from);
    decodeTile<V, V::VALUE_BITS, false>(to + V::TILE_BYTES, stage + V::KEY_BYTES, from + V::KEY_SCALES);
  };
  fetchScales(0);

  // queries, rows past the last as zeros
  for (int i = threadIdx.x; i < V::BM * (D / 8); i += V::THREADS) {
    const int row = i / (D / 8), chunk = i % (D / 8);
    uint4 word;
    word.x = word.y = word.z = word.w = 0;
    if (row < numQueries) {
      const int at = firstQuery + row;
      word = *(const uint4*)(queries.query + (u64)(at / queries.group) * queries.stride +
                             (head * queries.group + at % queries.group) * D + chunk * 8);
    }
    *(uint4*)(queryTile + tileOffset<D>(row, chunk)) = word;
  }
  __syncthreads();
  const u32 warpQueries = queriesAt + (u32)(warpM * V::MT * 16) * D * 2;
  u32 held[1][D / 16][4];
  if (V::MT == 1) {
#pragma unroll
    for (int k = 0; k < D / 16; k++)
      loadMatrix4(held[0][k], warpQueries + (u32)(lane & 15) * D * 2 + (((u32)(k * 2 + (lane >> 4)) ^ (lane & 7)) << 4));
  }

  WarpRows<V> rows;
#pragma unroll
  for (int m = 0; m < V::MT; m++) {
    rows.max[m][0] = rows.max[m][1] = -1e30f;
    rows.sum[m][0] = rows.sum[m][1] = 0.f;
#pragma unroll
    for (int d = 0; d < D / 8; d++) rows.out[m][d][0] = rows.out[m][d][1] = rows.out[m][d][2] = rows.out[m][d][3] = 0.f;
  }
  const bool idle = warpM * V::MT * 16 >= numQueries;
  const int WARP_ROWS = KV_TILE / V::WN;
  const int SB = V::MT == 1 ? WARP_ROWS : (WARP_ROWS < 32 ? WARP_ROWS : 32);

  if (V::CODED) {
    waitForCopies<V::STAGES - 1>();
    scales.store(tileScales, tileScales + V::KEY_SCALES);
    fetchScales(1);
    __syncthreads();
    decode(0);
    __syncthreads();
  }
  for (int tile = 0; tile < numTiles; tile++) {
    waitForCopies<V::STAGES - 2>();
    if (V::CODED) {
      u32* to = tileScales + ((tile + 1) & 1) * (V::KEY_SCALES + V::ROW_SCALES);
      scales.store(to, to + V::KEY_SCALES);
    }
    __syncthreads();
    fetch(tile + V::STAGES - (V::CODED ? 0 : 1));
    u32 keysAt = stagesAt + (tile % V::STAGES) * V::STAGE_BYTES, valuesAt = keysAt + V::KEY_BYTES;
    if (V::CODED) {
      fetchScales(tile + 2);
      if (tile + 1 < numTiles) decode(tile + 1);
      keysAt = decodedAt + (tile & 1) * 2 * V::TILE_BYTES, valuesAt = keysAt + V::TILE_BYTES;
    }
    if (idle) continue;
#pragma unroll
    for (int part = 0; part < WARP_ROWS / SB; part++) {
      const int row = warpN * WARP_ROWS + part * SB;
      attend<V, SB>(rows, held, warpQueries, keysAt, valuesAt, row, numRows - tile * KV_TILE - row, queries.scale);
    }
  }

#pragma unroll
  for (int m = 0; m < V::MT; m++)
#pragma unroll
    for (int j = 0; j < 2; j++) {
      rows.sum[m][j] += __shfl_xor_sync(0xffffffffu, rows.sum[m][j], 1);
      rows.sum[m][j] += __shfl_xor_sync(0xffffffffu, rows.sum[m][j], 2);
    }
  u16* partial = queries.partial + ((u64)item * queries.rowCapacity + firstLocal) * D;
  float* logSum = queries.logSum + (u64)item * queries.rowCapacity + firstLocal;
  if (V::WN == 1) {
#pragma unroll
    for (int m = 0; m < V::MT; m++)
#pragma unroll
      for (int j = 0; j < 2; j++) {
        const int row = (warpM * V::MT + m) * 16 + j * 8 + (lane >> 2);
        if (row >= numQueries) continue;
        const float inverse = rows.sum[m][j] > 0.f ? 1.f / rows.sum[m][j] : 0.f;
#pragma unroll
        for (int d = 0; d < D / 8; d++)
          *(u32*)(partial + (u64)row * D + d * 8 + (lane & 3) * 2) =
              pack2<V::E>(rows.out[m][d][2 * j] * inverse, rows.out[m][d][2 * j + 1] * inverse);
        if ((lane & 3) == 0) logSum[row] = rows.max[m][j] * queries.scale + log2f(rows.sum[m][j]);
      }
    return;
  }
  // warps that share query rows put theirs together through shared memory
  waitForCopies<0>();
  __syncthreads();
  float* outs = (float*)stages;
  float* maxima = outs + V::WN * V::BM * D;
  float* sums = maxima + V::WN * V::BM;
#pragma unroll
  for (int m = 0; m < V::MT; m++)
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const int row = warpN * V::BM + (warpM * V::MT + m) * 16 + j * 8 + (lane >> 2);
#pragma unroll
      for (int d = 0; d < D / 8; d++) {
        float2 two;
        two.x = rows.out[m][d][2 * j], two.y = rows.out[m][d][2 * j + 1];
        *(float2*)(outs + row * D + d * 8 + (lane & 3) * 2) = two;
      }
      if ((lane & 3) == 0) maxima[row] = rows.max[m][j], sums[row] = rows.sum[m][j];
    }
  __syncthreads();
  for (int i = threadIdx.x; i < V::BM * (D / 8); i += V::THREADS) {
    const int row = i / (D / 8), chunk = i % (D / 8);
    if (row >= numQueries) continue;
    float max = maxima[row];
#pragma unroll
    for (int w = 1; w < V::WN; w++) max = fmaxf(max, maxima[w * V::BM + row]);
    float sum = 0.f, out[8] = {0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f, 0.f};
#pragma unroll
    for (int w = 0; w < V::WN; w++) {
      const float weight = exp2Fast((maxima[w * V::BM + row] - max) * queries.scale);
      sum += weight * sums[w * V::BM + row];
#pragma unroll
      for (int d = 0; d < 8; d++) out[d] += weight * outs[(w * V::BM + row) * D + chunk * 8 + d];
    }
    const float inverse = sum > 0.f ? 1.f / sum : 0.f;
    uint4 word;
    word.x = pack2<V::E>(out[0] * inverse, out[1] * inverse);
    word.y = pack2<V::E>(out[2] * inverse, out[3] * inverse);
    word.z = pack2<V::E>(out[4] * inverse, out[5] * inverse);
    word.w = pack2<V::E>(out[6] * inverse, out[7] * inverse);
    *(uint4*)(partial + (u64)row * D + chunk * 8) = word;
    if (chunk == 0) logSum[row] = max * queries.scale + log2f(sum);
  }
}

// ---------------------------------------------------------------------------------------- suffixes

/** Keys and values of what followed the context: `[slots, KV heads, capacity, D]`, and the tokens each sequence had before this step. */
struct Suffixes {
  u16* key;
  u16* value;
  int capacity;
  int numKvHeads;
  /** By sequence of the batch. */
  const int* slot;
  const int* length;
};

struct MergeArguments {
  /** Turned queries, as ragged_part reads them. */
  const u16* query;
  int stride;
  int group;
  float scale;
  /** New tokens of every sequence. */
  int tokens;
  /** `[sequences, KV heads, 2]`: first and end of the items that hold a sequence's context. */
  const int* itemRange;
  const int* items;
  const u16* partial;
  const float* logSum;
  int rowCapacity;
  /** `[tokens, outStride]`. */
  u16* out;
  int outStride;
};

/** Query rows of one block. */
#define KV_MERGE_ROWS 1
#define KV_MERGE_THREADS 128

/**
 * Grid: sequences × KV heads × blocks of KV_MERGE_ROWS rows. D/8 neighbouring threads read one row of keys, values or
 * partial outputs, 16 bytes each; such groups take rows in turn and are summed at the end.
 */
template <int E, int D> KV_DEVICE void suffixMerge(const MergeArguments& a, const Suffixes& s) {
  const int RB = KV_MERGE_ROWS, NT = KV_MERGE_THREADS, LANES = D / 8, GROUPS = NT / LANES;
  __shared__ float weight[RB][NT];
  __shared__ float gathered[GROUPS][D];
  __shared__ float top[RB], sum[RB], factor[RB], contextTop[RB], contextSum[RB];
  const int b = blockIdx.x, h = blockIdx.y, first = blockIdx.z * RB;
  const int numRows = min(RB, a.tokens * a.group - first);
  const int tid = threadIdx.x, warp = tid / 32, lane = tid & 31, chunk = tid % LANES, group = tid / LANES;
  const int past = s.length[b], end = past + a.tokens;
  const u64 slotAt = ((u64)s.slot[b] * s.numKvHeads + h) * s.capacity * D + chunk * 8;

  float query[RB][8];
#pragma unroll
  for (int r = 0; r < RB; r++) {
    const int at = first + min(r, numRows - 1);
    unpack8<E>(query[r], *(const uint4*)(a.query + (u64)(b * a.tokens + at / a.group) * a.stride + (h * a.group + at % a.group) * D + chunk * 8));
  }
  if (tid < RB) top[tid] = -1e30f, sum[tid] = 0.f;
  __syncthreads();

  float acc[RB][8];
#pragma unroll
  for (int r = 0; r < RB; r++)
#pragma unroll
    for (int k = 0; k < 8; k++) acc[r][k] = 0.f;
  for (int from = 0; from < end; from += NT) {
    // whole warps take part in the sums over lanes, so the last keys are rounded up to groups
    const int count = min(NT, end - from), last = (count + GROUPS - 1) / GROUPS * GROUPS;
#pragma unroll 8
    for (int j = group; j < last; j += GROUPS) {
      float key[8], dot[RB];
      uint4 word;
      word.x = word.y = word.z = word.w = 0;
      if (j < count) word = *(const uint4*)(s.key + slotAt + (u64)(from + j) * D);
      unpack8<E>(key, word);
#pragma unroll
      for (int r = 0; r < RB; r++) {
        dot[r] = 0.f;
#pragma unroll
        for (int k = 0; k < 8; k++) dot[r] += key[k] * query[r][k];
#pragma unroll
        for (int i = LANES / 2; i > 0; i >>= 1) dot[r] += __shfl_xor_sync(0xffffffffu, dot[r], i);
      }
      if (chunk < RB) {
        float mine = dot[0];
#pragma unroll
        for (int r = 1; r < RB; r++) mine = chunk == r ? dot[r] : mine;
        weight[chunk][j] = j < count && from + j <= past + (first + chunk) / a.group ? mine * a.scale : -1e30f;
      }
    }
    __syncthreads();
    if (warp < RB) {
      float x[NT / 32], most = top[warp];
#pragma unroll
      for (int i = 0; i < NT / 32; i++) x[i] = lane + 32 * i < count ? weight[warp][lane + 32 * i] : -1e30f, most = fmaxf(most, x[i]);
      for (int i = 16; i > 0; i >>= 1) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, i));
      float total = 0.f;
#pragma unroll
      for (int i = 0; i < NT / 32; i++) {
        const float p = x[i] > -1e29f ? exp2Fast(x[i] - most) : 0.f;
        weight[warp][lane + 32 * i] = p;
        total += p;
      }
      for (int i = 16; i > 0; i >>= 1) total += __shfl_xor_sync(0xffffffffu, total, i);
      if (lane == 0) {
        factor[warp] = exp2Fast(top[warp] - most);
        sum[warp] = sum[warp] * factor[warp] + total;
        top[warp] = most;
      }
    }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < RB; r++)
#pragma unroll
      for (int k = 0; k < 8; k++) acc[r][k] *= factor[r];
#pragma unroll 8
    for (int j = group; j < count; j += GROUPS) {
      float value[8];
      unpack8<E>(value, *(const uint4*)(s.value + slotAt + (u64)(from + j) * D));
#pragma unroll
      for (int r = 0; r < RB; r++)
#pragma unroll
        for (int k = 0; k < 8; k++) acc[r][k] += weight[r][j] * value[k];
    }
    __syncthreads();
  }

  // until here nothing of ragged_part was read: this kernel may have started beside it
  waitForEarlierKernel();
  // the context's largest and total weight of each row
  const int itemsFrom = a.itemRange[(b * s.numKvHeads + h) * 2], itemsEnd = a.itemRange[(b * s.numKvHeads + h) * 2 + 1];
  const int rowOf = itemsFrom < itemsEnd ? b * a.tokens * a.group + first - a.items[itemsFrom * KV_ITEM + 3] : 0;
  if (warp < RB) {
    float most = -1e30f, total = 0.f;
    if (warp < numRows)
#pragma unroll 4
      for (int i = itemsFrom + lane; i < itemsEnd; i += 32) {
        const float x = a.logSum[(u64)i * a.rowCapacity + rowOf + warp], grown = fmaxf(most, x);
        total = total * exp2Fast(most - grown) + exp2Fast(x - grown);
        most = grown;
      }
    for (int i = 16; i > 0; i >>= 1) {
      const float x = __shfl_xor_sync(0xffffffffu, most, i), grown = fmaxf(most, x);
      total = total * exp2Fast(most - grown) + __shfl_xor_sync(0xffffffffu, total, i) * exp2Fast(x - grown);
      most = grown;
    }
    if (lane == 0) contextTop[warp] = most, contextSum[warp] = total;
  }

  __syncthreads();

  // both together
#pragma unroll
  for (int r = 0; r < RB; r++) {
    if (r >= numRows) break;
    const float most = fmaxf(contextTop[r], top[r]), own = exp2Fast(top[r] - most);
#pragma unroll
    for (int k = 0; k < 8; k++) acc[r][k] *= own;
#pragma unroll 4
    for (int i = itemsFrom + group; i < itemsEnd; i += GROUPS) {
      const u64 at = (u64)i * a.rowCapacity + rowOf + r;
      const float w = exp2Fast(a.logSum[at] - most);
      float part[8];
      unpack8<E>(part, *(const uint4*)(a.partial + at * D + chunk * 8));
#pragma unroll
      for (int k = 0; k < 8; k++) acc[r][k] += w * part[k];
    }
#pragma unroll
    for (int k = 0; k < 8; k++) gathered[group][chunk * 8 + k] = acc[r][k];
    __syncthreads();
    if (tid < D) {
      float out = 0.f;
#pragma unroll
      for (int g = 0; g < GROUPS; g++) out += gathered[g][tid];
      const float total = contextSum[r] * exp2Fast(contextTop[r] - most) + sum[r] * own;
      const int at = first + r;
      a.out[(u64)(b * a.tokens + at / a.group) * a.outStride + (h * a.group + at % a.group) * D + tid] = toElement<E>(out / total);
    }
    __syncthreads();
  }
}

/** Grid: tokens. Turns and appends; `cosine`, `sine` are f32 `[positions, D/2]`. */
struct RopeArguments {
  /** `[tokens, stride]`: query heads, key heads, value heads. */
  const u16* input;
  int stride;
  int numQueryHeads;
  const int* position;
  const float* cosine;
  const float* sine;
  /** Pairs are (2i, 2i+1) instead of (i, i + D/2). */
  int interleaved;
  int tokens;
  /** `[tokens, query heads · D]`. */
  u16* query;
};

template <int E, int D> KV_DEVICE void ropeAppend(const RopeArguments& a, const Suffixes& s) {
  const int token = blockIdx.x, b = token / a.tokens, t = token % a.tokens;
  const u16* in = a.input + (u64)token * a.stride;
  const int position = a.position[token];
  const int HALF_D = D / 2, numTurned = a.numQueryHeads + s.numKvHeads;
  const int index = s.length[b] + t;
  for (int i = threadIdx.x; i < (numTurned + s.numKvHeads) * HALF_D; i += blockDim.x) {
    const int h = i / HALF_D, pair = i % HALF_D;
    const bool turned = h < numTurned;
    const int x = turned && !a.interleaved ? pair : 2 * pair, y = turned && !a.interleaved ? pair + HALF_D : 2 * pair + 1;
    u16 low = in[h * D + x], high = in[h * D + y];
    if (turned) {
      const float c = a.cosine[(u64)position * HALF_D + pair], n = a.sine[(u64)position * HALF_D + pair];
      const float p = toFloat<E>(low), q = toFloat<E>(high);
      low = toElement<E>(p * c - q * n);
      high = toElement<E>(q * c + p * n);
    }
    u16* to;
    if (h < a.numQueryHeads) to = a.query + ((u64)token * a.numQueryHeads + h) * D;
    else {
      const int kv = (h - a.numQueryHeads) % s.numKvHeads;
      to = (turned ? s.key : s.value) + (((u64)s.slot[b] * s.numKvHeads + kv) * s.capacity + index) * D;
    }
    to[x] = low;
    to[y] = high;
  }
}

// ---------------------------------------------------------------------------------------- entry points

// One variant per compilation for NVRTC: -DKV_D=128 -DKV_WM=4 -DKV_WN=1 -DKV_MT=1 -DKV_STAGES=3 -DKV_E=0 -DKV_KEY_BITS=16
// -DKV_VALUE_BITS=16 -DKV_KEY_TOKENS=0 -DKV_BLOCKS=2
#ifdef KV_D
typedef Variant<KV_D, KV_WM, KV_WN, KV_MT, KV_STAGES, KV_E, KV_KEY_BITS, KV_VALUE_BITS, KV_KEY_TOKENS> TheVariant;
extern "C" __global__ void __launch_bounds__(TheVariant::THREADS, KV_BLOCKS)
    ragged_part(const __grid_constant__ RaggedContext context, const __grid_constant__ RaggedQueries queries) {
  raggedPart<TheVariant>(context, queries);
}
extern "C" __global__ void __launch_bounds__(KV_MERGE_THREADS)
    suffix_merge(const __grid_constant__ MergeArguments arguments, const __grid_constant__ Suffixes suffixes) {
  suffixMerge<KV_E, KV_D>(arguments, suffixes);
}
extern "C" __global__ void rope_append(const __grid_constant__ RopeArguments arguments, const __grid_constant__ Suffixes suffixes) {
  ropeAppend<KV_E, KV_D>(arguments, suffixes);
}
#endif
