// Checks and times int4_linear.cu on a bare machine: nvcc -O3 -std=c++17 -gencode=arch=compute_90,code=sm_90
// int4_linear_test.cu -o int4_linear_test && ./int4_linear_test
//
// Random shapes against f64 sums, then the products of Llama-3.1-8B; eight matrices take turns, so that none is found
// in the chip's cache.

#include <cuda_runtime.h>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>
#include "ragged_attention.cu"
#include "int4_linear.cu"

#define CUDA(call)                                                                                       \
  do {                                                                                                   \
    cudaError_t error_ = (call);                                                                         \
    if (error_ != cudaSuccess) {                                                                         \
      fprintf(stderr, "%s:%d %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_));          \
      exit(2);                                                                                           \
    }                                                                                                    \
  } while (0)

template <int MT> __global__ void __launch_bounds__(KV_LINEAR_THREADS) linearKernel(const __grid_constant__ LinearArguments a) { int4Linear<MT>(a); }

static float fromHalf(u16 x) {
  const int e = (x >> 10) & 31, m = x & 1023;
  const float y = e == 0 ? ldexpf((float)m, -24) : ldexpf((float)(m | 1024), e - 25);
  return x & 0x8000 ? -y : y;
}

template <class T> static T* upload(const std::vector<T>& v) {
  T* p;
  CUDA(cudaMalloc(&p, v.size() * sizeof(T)));
  CUDA(cudaMemcpy(p, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
  return p;
}

static void launch(const LinearArguments& a, cudaStream_t stream) {
  const int tiles = a.M <= 16 ? 1 : a.M <= 32 ? 2 : 4;
  auto* f = tiles == 1 ? linearKernel<1> : tiles == 2 ? linearKernel<2> : linearKernel<4>;
  const int bytes = KV_LINEAR_AHEAD * tiles * 16 * 256;
  CUDA(cudaFuncSetAttribute(f, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes));
  f<<<dim3(a.N / 128, a.splits, (a.M + tiles * 16 - 1) / (tiles * 16)), KV_LINEAR_THREADS, bytes, stream>>>(a);
  CUDA(cudaGetLastError());
}

static int splitsFor(int M, int N, int K) {
  const int tiles = M <= 16 ? 1 : M <= 32 ? 2 : 4, blocks = N / 128 * ((M + tiles * 16 - 1) / (tiles * 16));
  return std::max(1, std::min((3 * 132 + blocks - 1) / blocks, std::max(1, K / 128 / 4)));
}

int main() {
  std::mt19937 rng(3);
  double worst = 0;
  int cases = 0, failed = 0;
  for (int M : {1, 5, 16, 17, 32, 33, 64, 65, 130})
    for (int K : {128, 384, 512, 1024, 2304})
      for (int N : {128, 384}) {
        const int splits = 1 + rng() % std::min(5, K / 128);
        std::vector<u8> weight((size_t)N * K / 2);
        std::vector<u16> x((size_t)M * K), scale((size_t)N * K / 128), y((size_t)M * N, 0xffff);
        for (auto& w : weight) w = (u8)rng();
        for (auto& v : x) v = (u16)((rng() & 0x83ff) | 0x3400);
        for (auto& s : scale) s = (u16)((rng() & 0x3ff) | 0x2000);
        const int blocks = N / 128 * ((M + 15) / 16);
        LinearArguments a = {upload(x), upload(weight), upload(scale), upload(y), upload(std::vector<float>((size_t)splits * M * N, NAN)), upload(std::vector<int>(blocks, 0)), M, N, K, splits};
        for (int twice = 0; twice < 2; twice++) launch(a, 0);
        CUDA(cudaMemcpy(y.data(), a.y, y.size() * 2, cudaMemcpyDeviceToHost));
        double error = 0, norm = 0;
        for (int m = 0; m < M; m++)
          for (int n = 0; n < N; n++) {
            double sum = 0;
            for (int k = 0; k < K; k++) {
              const int code = weight[((size_t)n * K + k) / 2] >> (k % 2 * 4) & 15;
              sum += fromHalf(x[(size_t)m * K + k]) * (code - 8.) * fromHalf(scale[(size_t)n * (K / 128) + k / 128]);
            }
            const double got = fromHalf(y[(size_t)m * N + n]) ;
            error += (got - sum) * (got - sum), norm += sum * sum;
          }
        const double e = sqrt(error / norm);
        worst = std::isnan(e) ? e : std::max(worst, e);
        cases++;
        if (!(e < 1.5e-3)) failed++, printf("FAILED M=%d K=%d N=%d splits=%d error=%.2e\n", M, K, N, splits, e);
        for (void* p : {(void*)a.x, (void*)a.weight, (void*)a.scale, (void*)a.y, (void*)a.partial, (void*)a.arrived}) CUDA(cudaFree(p));
      }
  printf("{\"check\": \"int4_linear\", \"cases\": %d, \"failed\": %d, \"worstRelativeError\": %.2e}\n", cases, failed, worst);

  cudaStream_t stream;
  CUDA(cudaStreamCreate(&stream));
  const int shapes[][2] = {{6144, 4096}, {4096, 4096}, {14336, 4096}, {4096, 14336}, {128256, 4096}};
  for (int M : {1, 16, 64})
    for (auto& [N, K] : shapes) {
      const size_t bytes = (size_t)N * K / 2;
      std::vector<u32> noise(bytes / 4);
      for (auto& v : noise) v = rng();
      std::vector<u16> scale((size_t)N * K / 128, 0x2000), x((size_t)M * K);
      for (auto& v : x) v = (u16)((rng() & 0x83ff) | 0x3400);
      const int splits = splitsFor(M, N, K), copies = N > 100000 ? 2 : 8;
      std::vector<LinearArguments> all;
      u16 *dx = upload(x), *ds = upload(scale), *dy = upload(std::vector<u16>((size_t)M * N));
      float* partial = upload(std::vector<float>((size_t)splits * M * N));
      int* arrived = upload(std::vector<int>(N));
      for (int i = 0; i < copies; i++) all.push_back({dx, (u8*)upload(noise), ds, dy, partial, arrived, M, N, K, splits});
      for (auto& a : all) launch(a, stream);
      cudaEvent_t from, to;
      CUDA(cudaEventCreate(&from));
      CUDA(cudaEventCreate(&to));
      std::vector<float> times;
      for (int round = 0; round < 7; round++) {
        CUDA(cudaEventRecord(from, stream));
        for (int i = 0; i < 32; i++) launch(all[i % copies], stream);
        CUDA(cudaEventRecord(to, stream));
        CUDA(cudaEventSynchronize(to));
        float ms;
        CUDA(cudaEventElapsedTime(&ms, from, to));
        times.push_back(ms * 1000 / 32);
      }
      std::sort(times.begin(), times.end());
      printf("{\"bench\": \"int4_linear\", \"rows\": %d, \"N\": %d, \"K\": %d, \"splits\": %d, \"us\": %.1f, \"TBps\": %.2f}\n", M, N, K, splits, times[3], bytes / times[3] / 1e6);
      for (auto& a : all) CUDA(cudaFree((void*)a.weight));
      for (void* p : {(void*)dx, (void*)ds, (void*)dy, (void*)partial, (void*)arrived}) CUDA(cudaFree(p));
    }
  return failed > 0;
}
