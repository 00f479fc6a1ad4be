// Checks and times ragged_attention.cu on a bare machine: nvcc -O3 -std=c++17 -gencode=arch=compute_90,code=sm_90
// ragged_attention_test.cu -o ragged_attention_test && ./ragged_attention_test [check|bench]
//
// check: random shapes (empty heads, one row, odd counts, several contexts, several new tokens) against plain f64
// loops over the decoded numbers. bench: the shapes of Llama-3.1-8B, one JSON object a line. Contexts of four
// layers take turns, so that none is found in the chip's cache.

#include <cuda_runtime.h>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>
#include "ragged_attention.cu"

#define CUDA(call)                                                                                       \
  do {                                                                                                   \
    cudaError_t error_ = (call);                                                                         \
    if (error_ != cudaSuccess) {                                                                         \
      fprintf(stderr, "%s:%d %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_));          \
      exit(2);                                                                                           \
    }                                                                                                    \
  } while (0)

template <class V, int BLOCKS>
__global__ void __launch_bounds__(V::THREADS, BLOCKS)
    partKernel(const __grid_constant__ RaggedContext context, const __grid_constant__ RaggedQueries queries) {
  raggedPart<V>(context, queries);
}
template <int E, int D>
__global__ void __launch_bounds__(KV_MERGE_THREADS)
    mergeKernel(const __grid_constant__ MergeArguments a, const __grid_constant__ Suffixes s) {
  suffixMerge<E, D>(a, s);
}
/** Launches `kernel` so that it may start while the one before it runs. */
template <class A, class B> void launchBeside(void (*kernel)(A, B), dim3 grid, int threads, cudaStream_t stream, const A& a, const B& b) {
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  CUDA(cudaLaunchKernelEx(&config, kernel, a, b));
}

template <int E, int D> __global__ void ropeKernel(const __grid_constant__ RopeArguments a, const __grid_constant__ Suffixes s) {
  ropeAppend<E, D>(a, s);
}

/** How numbers of a context are stored. */
enum Storage { F16, BF16, INT8, INT4, KIVI4 };
static const char* storageName[] = {"f16", "bf16", "int8", "int4", "kivi4"};

struct Kernel {
  void (*part)(RaggedContext, RaggedQueries);
  int blockRows, threads, shared, blocksPerChip;
};

template <class V, int BLOCKS> Kernel make() {
  auto* f = partKernel<V, BLOCKS>;
  CUDA(cudaFuncSetAttribute(f, cudaFuncAttributeMaxDynamicSharedMemorySize, V::SHARED_BYTES));
  int perChip = 0, sms = 0;
  CUDA(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&perChip, f, V::THREADS, V::SHARED_BYTES));
  CUDA(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0));
  return {f, V::BM, V::THREADS, V::SHARED_BYTES, perChip * sms};
}

#define STORAGE_ARGUMENTS_F16 HALF, 16, 16, false
#define STORAGE_ARGUMENTS_BF16 BFLOAT, 16, 16, false
#define STORAGE_ARGUMENTS_INT8 HALF, 8, 8, false
#define STORAGE_ARGUMENTS_INT4 HALF, 4, 4, false
#define STORAGE_ARGUMENTS_KIVI4 HALF, 4, 4, true
template <int D, int E, int KB, int VB, bool KT> Kernel choose(int rows) {
  const bool coded = KB < 16;
  const int deep = KB == 4 ? 4 : KB == 8 ? 2 : 3;
  if (rows <= 16) return make<Variant<D, 1, 4, 1, deep, E, KB, VB, KT>, 2>();
  if (rows <= 32) return make<Variant<D, 2, 2, 1, deep, E, KB, VB, KT>, 2>();
  if (rows <= 64) return make<Variant<D, 4, 1, 1, deep, E, KB, VB, KT>, 2>();
  if (rows <= 128) return make<Variant<D, 4, 1, 2, 2, E, KB, VB, KT>, coded ? 1 : 2>();
  return make<Variant<D, 8, 1, 2, 3, E, KB, VB, KT>, 1>();
}
template <int D> Kernel chooseStorage(Storage s, int rows) {
  switch (s) {
    case F16: return choose<D, STORAGE_ARGUMENTS_F16>(rows);
    case BF16: return choose<D, STORAGE_ARGUMENTS_BF16>(rows);
    case INT8: return choose<D, STORAGE_ARGUMENTS_INT8>(rows);
    case INT4: return choose<D, STORAGE_ARGUMENTS_INT4>(rows);
    default: return choose<D, STORAGE_ARGUMENTS_KIVI4>(rows);
  }
}

// ------------------------------------------------------------------------------------------ numbers on the host

static float fromHalf(u16 x) {
  const int e = (x >> 10) & 31, m = x & 1023;
  const float y = e == 0 ? ldexpf((float)m, -24) : ldexpf((float)(m | 1024), e - 25);
  return x & 0x8000 ? -y : y;
}
static u16 toHalf(float f) {  // round to nearest even; no overflow here
  if (f == 0) return 0;
  int e;
  const float m = frexpf(fabsf(f), &e);
  u16 out;
  if (e < -13) out = (u16)nearbyintf(ldexpf(fabsf(f), 24));
  else {
    long q = lrintf(ldexpf(m, 11));
    if (q == 2048) q = 1024, e++;
    out = (u16)((e + 14) << 10 | (q & 1023));
  }
  return out | (f < 0 ? 0x8000 : 0);
}
static float fromBfloat(u16 x) {
  u32 bits = (u32)x << 16;
  float y;
  memcpy(&y, &bits, 4);
  return y;
}
static u16 toBfloat(float f) {
  u32 bits;
  memcpy(&bits, &f, 4);
  return (u16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <class T> T* upload(const std::vector<T>& v) {
  T* p;
  CUDA(cudaMalloc(&p, std::max<size_t>(16, v.size() * sizeof(T))));
  CUDA(cudaMemcpy(p, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
  return p;
}

/** Items of contexts whose heads have `lengths[c][h]` rows, about `slots` of them; heads are cut evenly, at multiples of the tile. */
struct Plan {
  std::vector<int> items;
  std::vector<int> range;  // [context, head, 2]
};
static Plan plan(const std::vector<std::vector<int>>& lengths, const std::vector<int>& firstQuery, const std::vector<int>& numQueries,
                 int slots) {
  auto tiles = [](int n) { return (n + KV_TILE - 1) / KV_TILE; };
  int chunk = 1;
  auto count = [&] {
    int n = 0;
    for (auto& heads : lengths)
      for (int l : heads) n += (tiles(l) + chunk - 1) / chunk;
    return n;
  };
  while (count() > slots && chunk < (1 << 20)) chunk++;
  Plan p;
  int row = 0, group = 0;
  for (size_t c = 0; c < lengths.size(); c++)
    for (size_t h = 0; h < lengths[c].size(); h++) {
      const int n = lengths[c][h], t = tiles(n), parts = (t + chunk - 1) / chunk;
      p.range.push_back((int)p.items.size() / KV_ITEM);
      for (int i = 0; i < parts; i++) {
        const int from = (int)((long)t * i / parts) * KV_TILE, to = std::min(n, (int)((long)t * (i + 1) / parts) * KV_TILE);
        for (int x : {(int)h, row + from, to - from, firstQuery[c], numQueries[c], group + from / KV_TILE, 0, 0}) p.items.push_back(x);
      }
      p.range.push_back((int)p.items.size() / KV_ITEM);
      row += n;
      group += tiles(n);
    }
  
  return p;
}

/** One side of a context on the host: stored bytes, scales, and the numbers they stand for. */
struct Side {
  std::vector<u8> bytes;
  std::vector<u16> scale, zero;
  std::vector<float> numbers;
};
static Side encode(const std::vector<float>& x, const std::vector<int>& headLengths, int D, int bits, bool bfloat, bool tokens) {
  Side s;
  const size_t rows = x.size() / D;
  s.numbers.resize(x.size());
  if (bits == 16) {
    s.bytes.resize(x.size() * 2);
    for (size_t i = 0; i < x.size(); i++) {
      const u16 e = bfloat ? toBfloat(x[i]) : toHalf(x[i]);
      memcpy(&s.bytes[i * 2], &e, 2);
      s.numbers[i] = bfloat ? fromBfloat(e) : fromHalf(e);
    }
    return s;
  }
  s.bytes.assign(rows * D * bits / 8, 0);
  const float most = (float)((1 << bits) - 1);
  auto group = [&](std::function<size_t(int)> at, int n) {
    float lo = 1e30f, hi = -1e30f;
    for (int i = 0; i < n; i++) lo = std::min(lo, x[at(i)]), hi = std::max(hi, x[at(i)]);
    const u16 z = toHalf(lo), sc = toHalf((hi - lo) / most * 1.002f);
    s.zero.push_back(z), s.scale.push_back(sc);
    for (int i = 0; i < n; i++) {
      const int code = (int)std::min(most, std::max(0.f, nearbyintf((x[at(i)] - fromHalf(z)) / (fromHalf(sc) > 0 ? fromHalf(sc) : 1.f))));
      const size_t e = at(i);
      if (bits == 8) s.bytes[e] = (u8)code;
      else s.bytes[e / 2] |= code << (e % 2 * 4);
      s.numbers[e] = fromHalf(z) + fromHalf(sc) * code;
    }
  };
  if (!tokens) {
    for (size_t r = 0; r < rows; r++)
      for (int c = 0; c < D; c += KV_GROUP) group([=](int i) { return r * D + c + i; }, KV_GROUP);
    return s;
  }
  size_t first = 0;
  for (int n : headLengths) {
    for (int from = 0; from < n; from += KV_GROUP)
      for (int d = 0; d < D; d++) group([=](int i) { return (first + from + i) * D + d; }, std::min(KV_GROUP, n - from));
    first += n;
  }
  return s;
}

// ------------------------------------------------------------------------------------------ check

struct Shape {
  int D, G, H, T;
  Storage storage;
  std::vector<std::vector<int>> lengths;    // [context][head]
  std::vector<int> contextOf, suffixLength;  // by sequence, contexts in order
};

static double checkShape(const Shape& sh, std::mt19937& rng) {
  const int D = sh.D, G = sh.G, H = sh.H, T = sh.T, B = (int)sh.contextOf.size(), C = (int)sh.lengths.size();
  const bool bfloat = sh.storage == BF16;
  const int bits = sh.storage <= BF16 ? 16 : sh.storage == INT8 ? 8 : 4;
  std::normal_distribution<float> normal(0, 1);
  auto element = [&](float x) { return bfloat ? toBfloat(x) : toHalf(x); };
  auto number = [&](u16 x) { return bfloat ? fromBfloat(x) : fromHalf(x); };
  std::vector<int> flat;
  for (auto& c : sh.lengths)
    for (int n : c) flat.push_back(n);
  size_t N = 0;
  for (int n : flat) N += n;
  std::vector<float> k(N * D), v(N * D);
  for (auto& x : k) x = normal(rng);
  for (auto& x : v) x = normal(rng) + .3f;
  const Side key = encode(k, flat, D, bits, bfloat, sh.storage == KIVI4), value = encode(v, flat, D, bits, bfloat, false);

  // queries before rotation; the suffix holds what came before
  const int HQ = G * H, stride = (HQ + 2 * H) * D, tokens = B * T, slots = B + 1;
  int capacity = T;
  for (int l : sh.suffixLength) capacity = std::max(capacity, l + T);
  std::vector<u16> input((size_t)tokens * stride), sk((size_t)slots * H * capacity * D), sv(sk.size());
  for (auto& x : input) x = element(normal(rng));
  for (auto& x : sk) x = element(normal(rng));
  for (auto& x : sv) x = element(normal(rng) - .3f);
  std::vector<int> slot(B), position(tokens);
  for (int b = 0; b < B; b++) slot[b] = B - b;
  for (int i = 0; i < tokens; i++) position[i] = 5 + i;
  std::vector<float> cosine((size_t)(tokens + 5) * D / 2), sine(cosine.size());
  for (size_t i = 0; i < cosine.size(); i++) {
    const double angle = (i / (D / 2)) * pow(10000., -2. * (i % (D / 2)) / D);
    cosine[i] = (float)cos(angle), sine[i] = (float)sin(angle);
  }
  std::vector<int> firstQuery(C, 0), numQueries(C, 0);
  for (int b = B - 1; b >= 0; b--) firstQuery[sh.contextOf[b]] = b * T * G, numQueries[sh.contextOf[b]] += T * G;
  const int rowCapacity = *std::max_element(numQueries.begin(), numQueries.end());
  const Kernel kernel = D == 128 ? chooseStorage<128>(sh.storage, rowCapacity) : chooseStorage<64>(sh.storage, rowCapacity);
  const Plan p = plan(sh.lengths, firstQuery, numQueries, 1 + rng() % 40);
  const int numItems = (int)p.items.size() / KV_ITEM;
  std::vector<int> range;
  for (int b = 0; b < B; b++)
    for (int i = 0; i < 2 * H; i++) range.push_back(p.range[(size_t)sh.contextOf[b] * 2 * H + i]);

  RaggedContext context = {upload(key.bytes), upload(value.bytes), upload(key.scale), upload(key.zero), upload(value.scale), upload(value.zero), upload(p.items)};
  std::vector<u16> poison((size_t)std::max(1, numItems) * rowCapacity * D, 0xffff), query((size_t)tokens * HQ * D, 0xffff), out(query.size(), 0xffff);
  std::vector<float> poisonF((size_t)std::max(1, numItems) * rowCapacity, NAN);
  u16 *dQuery = upload(query), *dPartial = upload(poison), *dOut = upload(out), *dInput = upload(input), *dSk = upload(sk), *dSv = upload(sv);
  float *dLog = upload(poisonF), *dCos = upload(cosine), *dSin = upload(sine);
  int *dSlot = upload(slot), *dLen = upload(sh.suffixLength), *dPos = upload(position), *dRange = upload(range);
  const float scale = (float)(1.4426950408889634 / sqrt((double)D));
  Suffixes suffixes = {dSk, dSv, capacity, H, dSlot, dLen};
  RopeArguments rope = {dInput, stride, HQ, dPos, dCos, dSin, (int)(rng() % 2), T, dQuery};
  RaggedQueries queries = {dQuery, HQ * D, G, scale, dPartial, dLog, rowCapacity};
  MergeArguments merge = {dQuery, HQ * D, G, scale, T, dRange, context.items, dPartial, dLog, rowCapacity, dOut, HQ * D};
  auto ropeF = D == 128 ? (bfloat ? ropeKernel<BFLOAT, 128> : ropeKernel<HALF, 128>) : (bfloat ? ropeKernel<BFLOAT, 64> : ropeKernel<HALF, 64>);
  auto mergeF = D == 128 ? (bfloat ? mergeKernel<BFLOAT, 128> : mergeKernel<HALF, 128>) : (bfloat ? mergeKernel<BFLOAT, 64> : mergeKernel<HALF, 64>);
  ropeF<<<tokens, 256>>>(rope, suffixes);
  CUDA(cudaGetLastError());
  if (numItems > 0) {
    kernel.part<<<dim3(numItems, (rowCapacity + kernel.blockRows - 1) / kernel.blockRows), kernel.threads, kernel.shared>>>(context, queries);
    CUDA(cudaGetLastError());
  }
  launchBeside(mergeF, dim3(B, H, (T * G + KV_MERGE_ROWS - 1) / KV_MERGE_ROWS), KV_MERGE_THREADS, (cudaStream_t)0, merge, suffixes);
  CUDA(cudaGetLastError());
  CUDA(cudaMemcpy(out.data(), dOut, out.size() * 2, cudaMemcpyDeviceToHost));
  for (void* q : {(void*)context.key, (void*)context.value, (void*)context.keyScale, (void*)context.keyZero, (void*)context.valueScale, (void*)context.valueZero,
                  (void*)context.items, (void*)dQuery, (void*)dPartial, (void*)dOut, (void*)dInput, (void*)dSk, (void*)dSv, (void*)dLog, (void*)dCos, (void*)dSin,
                  (void*)dSlot, (void*)dLen, (void*)dPos, (void*)dRange})
    CUDA(cudaFree(q));

  // the same in plain f64
  auto turned = [&](int token, int h, int d) {
    const u16* in = &input[(size_t)token * stride + h * D];
    const int i = rope.interleaved ? d / 2 : d % (D / 2);
    const bool second = rope.interleaved ? d % 2 : d >= D / 2;
    const double x = number(in[rope.interleaved ? 2 * i : i]), y = number(in[rope.interleaved ? 2 * i + 1 : i + D / 2]);
    const double c = cosine[(size_t)position[token] * D / 2 + i], s = sine[(size_t)position[token] * D / 2 + i];
    return (double)number(element((float)(second ? y * c + x * s : x * c - y * s)));
  };
  std::vector<size_t> offset(flat.size() + 1, 0);
  for (size_t i = 0; i < flat.size(); i++) offset[i + 1] = offset[i] + flat[i];
  double error = 0, norm = 0;
  std::vector<double> q(D), weight, rowOut(D);
  for (int token = 0; token < tokens; token++)
    for (int hq = 0; hq < HQ; hq++) {
      const int b = token / T, t = token % T, h = hq / G;
      for (int d = 0; d < D; d++) q[d] = turned(token, hq, d);
      const size_t from = offset[(size_t)sh.contextOf[b] * H + h], n = flat[(size_t)sh.contextOf[b] * H + h];
      const int seen = sh.suffixLength[b] + t + 1;
      auto suffix = [&](const std::vector<u16>& store, int j, int d, bool isKey) {
        const int past = sh.suffixLength[b];
        if (j < past) return (double)number(store[(((size_t)slot[b] * H + h) * capacity + j) * D + d]);
        const int at = b * T + j - past;
        return isKey ? turned(at, HQ + h, d) : (double)number(input[(size_t)at * stride + (HQ + H + h) * D + d]);
      };
      weight.assign(n + seen, 0);
      double most = -1e300, total = 0;
      for (size_t j = 0; j < weight.size(); j++) {
        for (int d = 0; d < D; d++) weight[j] += q[d] * (j < n ? key.numbers[(from + j) * D + d] : suffix(sk, (int)(j - n), d, true));
        weight[j] /= sqrt((double)D);
        most = std::max(most, weight[j]);
      }
      for (auto& w : weight) w = exp(w - most), total += w;
      for (int d = 0; d < D; d++) {
        double x = 0;
        for (size_t j = 0; j < weight.size(); j++) x += weight[j] * (j < n ? value.numbers[(from + j) * D + d] : suffix(sv, (int)(j - n), d, false));
        x /= total;
        const double got = number(out[((size_t)token * HQ + hq) * D + d]);
        error += (got - x) * (got - x), norm += x * x;
      }
    }
  return sqrt(error / norm);
}

static int check() {
  std::mt19937 rng(7);
  auto upTo = [&](int n) { return (int)(rng() % (n + 1)); };
  int failed = 0, cases = 0;
  double worst[5] = {0};
  const int counts[] = {0, 1, 2, 63, 64, 65, 127, 128, 129, 300, 700};
  for (int round = 0; round < 12; round++)
    for (int storage = 0; storage < 5; storage++)
      for (int size = 0; size < 5; size++) {
        Shape s;
        s.storage = (Storage)storage;
        s.D = rng() % 2 ? 128 : 64;
        const int groups[] = {1, 2, 4, 7, 8};
        s.G = groups[rng() % 5];
        s.H = 1 + upTo(3);
        s.T = 1 + upTo(3);
        const int wanted[] = {10, 30, 60, 120, 300};
        const int B = std::max(1, wanted[size] / (s.T * s.G));
        const int C = std::min(B, 1 + upTo(1));
        for (int c = 0; c < C; c++) {
          s.lengths.emplace_back();
          for (int h = 0; h < s.H; h++) s.lengths[c].push_back(counts[rng() % 11]);
        }
        for (int b = 0; b < B; b++) s.contextOf.push_back(b * C / B), s.suffixLength.push_back(rng() % 3 ? upTo(140) : 0);
        const double e = checkShape(s, rng);
        worst[storage] = std::isnan(e) ? e : std::max(worst[storage], e);
        cases++;
        if (!(e < (storage == BF16 ? 1e-2 : 1.5e-3))) {
          failed++;
          printf("FAILED %s D=%d G=%d H=%d T=%d B=%d contexts=%d error=%.2e\n", storageName[storage], s.D, s.G, s.H, s.T, B, C, e);
        }
      }
  printf("{\"check\": \"ragged_attention\", \"cases\": %d, \"failed\": %d, \"worstRelativeError\": {", cases, failed);
  for (int i = 0; i < 5; i++) printf("%s\"%s\": %.2e", i ? ", " : "", storageName[i], worst[i]);
  printf("}}\n");
  return failed > 0;
}

// ------------------------------------------------------------------------------------------ bench

__global__ void fillRandom(u32* p, size_t words, int kind, u32 seed) {
  for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < words; i += (size_t)gridDim.x * blockDim.x) {
    u32 x = (u32)i * 2654435761u + seed;
    x ^= x >> 16, x *= 0x85ebca6bu, x ^= x >> 13, x *= 0xc2b2ae35u, x ^= x >> 16;
    if (kind == 0) p[i] = x;                                            // codes
    else if (kind == 1) p[i] = (x & 0x83ff83ffu) | 0x34003400u;         // halves of magnitude .25-.5
    else if (kind == 2) p[i] = (x & 0x007f007fu) | 0x3e803e80u | (x & 0x80008000u);  // the same in bf16
    else p[i] = (x & 0x03ff03ffu) | 0x20002000u;                        // scales
  }
}
static void* random(size_t bytes, int kind, u32 seed) {
  void* p;
  CUDA(cudaMalloc(&p, bytes + 64));
  fillRandom<<<2048, 256>>>((u32*)p, (bytes + 63) / 4, kind, seed);
  CUDA(cudaGetLastError());
  return p;
}

template <class F> static double microseconds(cudaStream_t stream, int repeats, F launch) {
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
  for (int i = 0; i < repeats; i++) launch(i);
  CUDA(cudaStreamEndCapture(stream, &graph));
  CUDA(cudaGraphInstantiate(&exec, graph, 0));
  cudaEvent_t a, b;
  CUDA(cudaEventCreate(&a));
  CUDA(cudaEventCreate(&b));
  std::vector<float> times;
  for (int i = 0; i < 9; i++) {
    CUDA(cudaEventRecord(a, stream));
    CUDA(cudaGraphLaunch(exec, stream));
    CUDA(cudaEventRecord(b, stream));
    CUDA(cudaEventSynchronize(b));
    float ms;
    CUDA(cudaEventElapsedTime(&ms, a, b));
    if (i >= 2) times.push_back(ms * 1000 / repeats);
  }
  CUDA(cudaGraphExecDestroy(exec));
  CUDA(cudaGraphDestroy(graph));
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

static void benchShape(cudaStream_t stream, Storage storage, int contextTokens, double keep, int B, int suffixLength) {
  const int D = 128, G = 4, H = 8, LAYERS = 4, HQ = G * H;
  std::mt19937 rng(1);
  std::gamma_distribution<double> gamma(3, 1);
  std::vector<int> lengths(H, contextTokens);
  if (keep < 1) {
    std::vector<double> g(H);
    double total = 0;
    for (auto& x : g) total += x = gamma(rng);
    for (int h = 0; h < H; h++) lengths[h] = std::min(contextTokens, std::max(64, (int)(g[h] / total * H * keep * contextTokens)));
  }
  size_t N = 0, groups = 0;
  for (int n : lengths) N += n, groups += (n + KV_GROUP - 1) / KV_GROUP;
  const int rows = B * G;
  const Kernel kernel = chooseStorage<128>(storage, rows);
  const int blocks = (rows + kernel.blockRows - 1) / kernel.blockRows;
  const Plan p = plan({lengths}, {0}, {rows}, std::max(1, kernel.blocksPerChip / blocks));
  const int numItems = (int)p.items.size() / KV_ITEM;
  const int bits = storage <= BF16 ? 16 : storage == INT8 ? 8 : 4;
  const int kind = storage == F16 ? 1 : storage == BF16 ? 2 : 0;
  const size_t sideBytes = N * D * bits / 8, valueScales = N * (D / 64), keyScales = storage == KIVI4 ? groups * D : valueScales;
  const size_t bytes = 2 * sideBytes + (bits < 16 ? 4 * (keyScales + valueScales) : 0);
  int* items = upload(p.items);
  std::vector<void*> owned;
  auto own = [&](size_t n, int k, u32 seed) { return owned.push_back(random(n, k, seed)), owned.back(); };
  std::vector<RaggedContext> contexts;
  for (int l = 0; l < LAYERS; l++)
    contexts.push_back({(u8*)own(sideBytes, kind, l * 7 + 1), (u8*)own(sideBytes, kind, l * 7 + 2), (u16*)own(keyScales * 2, 3, l * 7 + 3), (u16*)own(keyScales * 2, 3, l * 7 + 4),
                        (u16*)own(valueScales * 2, 3, l * 7 + 5), (u16*)own(valueScales * 2, 3, l * 7 + 6), items});
  const int elementKind = storage == BF16 ? 2 : 1, capacity = suffixLength + 1;
  u16* query = (u16*)own((size_t)rows * H * D * 2, elementKind, 99);
  u16* partial = (u16*)own((size_t)numItems * rows * D * 2, elementKind, 98);
  float* logSum = (float*)own((size_t)numItems * rows * 4, 1, 97);
  u16* out = (u16*)own((size_t)rows * H * D * 2, 1, 96);
  u16* sk = (u16*)own((size_t)B * H * capacity * D * 2, elementKind, 95);
  u16* sv = (u16*)own((size_t)B * H * capacity * D * 2, elementKind, 94);
  std::vector<int> slot(B), length(B, suffixLength), range;
  for (int b = 0; b < B; b++) {
    slot[b] = b;
    range.insert(range.end(), p.range.begin(), p.range.end());
  }
  int *dSlot = upload(slot), *dLength = upload(length), *dRange = upload(range);
  const float scale = 1.4426950408889634f / sqrtf(128.f);
  RaggedQueries queries = {query, HQ * D, G, scale, partial, logSum, rows};
  MergeArguments merge = {query, HQ * D, G, scale, 1, dRange, items, partial, logSum, rows, out, HQ * D};
  Suffixes suffixes = {sk, sv, capacity, H, dSlot, dLength};
  auto part = [&](int i) { kernel.part<<<dim3(numItems, blocks), kernel.threads, kernel.shared, stream>>>(contexts[i % LAYERS], queries); };
  const double partUs = microseconds(stream, 24, part);
  const double bothUs = microseconds(stream, 24, [&](int i) {
    part(i);
    const dim3 grid(B, H, (G + KV_MERGE_ROWS - 1) / KV_MERGE_ROWS);
    launchBeside(storage == BF16 ? mergeKernel<BFLOAT, 128> : mergeKernel<HALF, 128>, grid, KV_MERGE_THREADS, stream, merge, suffixes);
  });
  CUDA(cudaGetLastError());
  printf("{\"bench\": \"attention\", \"storage\": \"%s\", \"contextTokens\": %d, \"keep\": %.2f, \"queries\": %d, \"suffix\": %d, \"contextUs\": %.1f, \"withSuffixUs\": %.1f, "
         "\"contextMB\": %.1f, \"TBps\": %.3f, \"TBpsWithSuffix\": %.3f, \"TFLOPs\": %.1f, \"TFLOPsWithSuffix\": %.1f, \"items\": %d}\n",
         storageName[storage], contextTokens, keep, B, suffixLength, partUs, bothUs, bytes / 1e6, bytes / partUs / 1e6, bytes / bothUs / 1e6, 4. * N * rows * D / partUs / 1e6,
         4. * N * rows * D / bothUs / 1e6, numItems);
  fflush(stdout);
  for (void* q : owned) CUDA(cudaFree(q));
  for (int* q : {items, dSlot, dLength, dRange}) CUDA(cudaFree(q));
}

static void bench() {
  cudaStream_t stream;
  CUDA(cudaStreamCreate(&stream));
  cudaDeviceProp device;
  CUDA(cudaGetDeviceProperties(&device, 0));
  const size_t gib = (size_t)1 << 30;
  void *x = random(gib, 0, 1), *y = random(gib, 0, 2);
  const double copyUs = microseconds(stream, 8, [&](int) { CUDA(cudaMemcpyAsync(y, x, gib, cudaMemcpyDeviceToDevice, stream)); });
  CUDA(cudaFree(x));
  CUDA(cudaFree(y));
  printf("{\"bench\": \"device\", \"card\": \"%s\", \"multiprocessors\": %d, \"copyTBps\": %.3f}\n", device.name, device.multiProcessorCount, 2. * gib / copyUs / 1e6);
  for (Storage s : {F16, BF16, INT8, INT4, KIVI4})
    for (int B : {1, 4, 16, 64}) benchShape(stream, s, 131072, .3, B, 128);
  for (Storage s : {F16, KIVI4}) {
    benchShape(stream, s, 131072, .1, 16, 128);
    benchShape(stream, s, 131072, 1., 16, 128);
    benchShape(stream, s, 32768, .3, 16, 128);
    benchShape(stream, s, 32768, .3, 64, 128);
  }
}

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "check";
  if (mode == "bench") return bench(), 0;
  return check();
}
