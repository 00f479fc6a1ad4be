/**
 * Value refit: kept values are changed so that attention over the kept pairs gives what
 * attention over all of them gave.
 *
 * Per KV head, with all keys and values K, V, the kept ones K_S, V_S and m sampled queries q_i:
 *
 *   T = softmax(q Kᵀ/√D) V            what the head put out
 *   P = softmax(q K_Sᵀ/√D)            how it attends now
 *   minimise ‖T - P (V_S + Δ)‖² + λ‖Δ‖²,   λ = ridge · mean(diag PᵀP)
 *
 * A least-squares problem in Δ [n, D], one column for each channel, solved by conjugate
 * gradients on the normal equations, preconditioned by 1 / (diag PᵀP + λ). A few steps do as
 * well as an exact solve, and Δ = 0, plain eviction, is where they start. Keys stay as they
 * are. Solving for the correction rather than the values makes a large ridge fall back to
 * plain eviction. Related: Attention Matching (arXiv:2602.16284), which solves for keys' biases
 * too; the composition with KVzip-like selections and the solver are our own.
 *
 * It polishes a good selection; after a bad one it makes answers worse.
 *
 * Cost per head: `2·steps + 2` products of `m·n·D`, and one attention of m queries over the
 * whole context. Memory: P, `4·m·n` bytes; the context's softmax rows are made in blocks.
 *
 * @module
 */
import type { RefitLayer } from "../types.ts";
import type { MatMul } from "./mat-mul.ts";

/** Softmax values of the whole context held at once: 16 MiB. */
const MAX_BLOCK_VALUES = 4 * 1024 * 1024;

export interface RefitOptions {
  /** Regularisation relative to the mean of diag PᵀP. */
  readonly ridge: number;
  /** Conjugate-gradient steps. */
  readonly steps: number;
}

/** New values `[n, D]` for the kept pairs. Heads that keep everything, or nothing, stay as they are. */
export async function refitValues(layer: RefitLayer, options: RefitOptions, matMul: MatMul): Promise<Float32Array> {
  const { dense, kept, query_KMD } = layer;
  const { numKvHeads: K, headDim: D, seqLen: S } = dense;
  const M = query_KMD.length / (K * D);
  if (!Number.isInteger(M) || kept.numKvHeads !== K || kept.headDim !== D) {
    throw new RangeError(`Cannot refit values: found ${query_KMD.length} numbers of queries for ${K} heads of ${D}`);
  }
  const value_nD = Float32Array.from(kept.value_nD);
  if (M === 0) return value_nD;
  for (let k = 0; k < K; k++) {
    const start = kept.offset[k];
    const count = kept.offset[k + 1] - start;
    if (count === 0 || count === S) continue;
    const rows = (source: Float32Array, first: number, length: number): Float32Array =>
      source.subarray(first * D, (first + length) * D);
    const query_MD = rows(query_KMD, k * M, M);
    const head = {
      ...{ M, S, D, query_MD },
      key_SD: rows(dense.key_KSD, k * S, S),
      value_SD: rows(dense.value_KSD, k * S, S),
    };
    const target_MD = await attend(head, matMul);
    const weight_MN = await matMul.attention(query_MD, rows(kept.key_nD, start, count), M, count, D);
    const keptValue_ND = rows(value_nD, start, count);
    const residual_MD = await matMul.times(weight_MN, keptValue_ND, M, count, D);
    for (let i = 0; i < residual_MD.length; i++) residual_MD[i] = target_MD[i] - residual_MD[i];
    const delta_ND = await solveCorrection(weight_MN, residual_MD, { M, N: count, D }, options, matMul);
    for (let i = 0; i < delta_ND.length; i++) keptValue_ND[i] += delta_ND[i];
  }
  return value_nD;
}

/** One KV head and the queries that look at it. */
interface Head {
  readonly M: number;
  readonly S: number;
  readonly D: number;
  readonly query_MD: Float32Array;
  readonly key_SD: Float32Array;
  readonly value_SD: Float32Array;
}

/** softmax(q Kᵀ/√D) V, `[M, D]`, a block of queries at a time. */
async function attend({ M, S, D, query_MD, key_SD, value_SD }: Head, matMul: MatMul): Promise<Float32Array> {
  const out_MD = new Float32Array(M * D);
  const block = Math.max(1, Math.floor(MAX_BLOCK_VALUES / S));
  for (let first = 0; first < M; first += block) {
    const count = Math.min(block, M - first);
    const query_BD = query_MD.subarray(first * D, (first + count) * D);
    out_MD.set(await matMul.attend(query_BD, key_SD, value_SD, count, S, D), first * D);
  }
  return out_MD;
}

/** Δ [N, D] of min ‖R - P Δ‖² + λ‖Δ‖² after `steps` steps from 0; every channel is a problem of its own. */
async function solveCorrection(
  weight_MN: Float32Array,
  residual_MD: Float32Array,
  { M, N, D }: { readonly M: number; readonly N: number; readonly D: number },
  { ridge, steps }: RefitOptions,
  matMul: MatMul,
): Promise<Float32Array> {
  const { diagonal_N, lambda } = normalDiagonal(weight_MN, N, ridge);
  const delta_ND = new Float32Array(N * D);
  const gradient_ND = await matMul.transposedTimes(weight_MN, residual_MD, M, N, D);
  const direction_ND = new Float32Array(N * D);
  precondition(gradient_ND, diagonal_N, D, direction_ND);
  let energy_D = columnDots(gradient_ND, direction_ND, D);
  const next_ND = new Float32Array(N * D);
  for (let step = 0; step < steps; step++) {
    const image_MD = await matMul.times(weight_MN, direction_ND, M, N, D);
    const image_ND = await matMul.transposedTimes(weight_MN, image_MD, M, N, D);
    for (let i = 0; i < image_ND.length; i++) image_ND[i] += lambda * direction_ND[i];
    const curvature_D = columnDots(direction_ND, image_ND, D);
    const length_D = energy_D.map((energy, d) => (curvature_D[d] > 0 ? energy / curvature_D[d] : 0));
    for (let i = 0, d = 0; i < delta_ND.length; i++) {
      delta_ND[i] += length_D[d] * direction_ND[i];
      gradient_ND[i] -= length_D[d] * image_ND[i];
      if (++d === D) d = 0;
    }
    if (step + 1 === steps) break;
    precondition(gradient_ND, diagonal_N, D, next_ND);
    const nextEnergy_D = columnDots(gradient_ND, next_ND, D);
    const turn_D = nextEnergy_D.map((energy, d) => (energy_D[d] > 0 ? energy / energy_D[d] : 0));
    for (let i = 0, d = 0; i < direction_ND.length; i++) {
      direction_ND[i] = next_ND[i] + turn_D[d] * direction_ND[i];
      if (++d === D) d = 0;
    }
    energy_D = nextEnergy_D;
  }
  return delta_ND;
}

/** diag(PᵀP) + λ, and λ. */
function normalDiagonal(weight_MN: Float32Array, N: number, ridge: number): { diagonal_N: Float64Array; lambda: number } {
  const diagonal_N = new Float64Array(N);
  for (let base = 0; base < weight_MN.length; base += N) {
    for (let n = 0; n < N; n++) diagonal_N[n] += weight_MN[base + n] * weight_MN[base + n];
  }
  let sum = 0;
  for (let n = 0; n < N; n++) sum += diagonal_N[n];
  const lambda = (ridge * sum) / N;
  for (let n = 0; n < N; n++) diagonal_N[n] += lambda;
  return { diagonal_N, lambda };
}

/** `out[n, d] = gradient[n, d] / diagonal[n]`. */
function precondition(gradient_ND: Float32Array, diagonal_N: Float64Array, D: number, out_ND: Float32Array): void {
  for (let n = 0; n < diagonal_N.length; n++) {
    // A pair that no query looks at has no gradient either.
    const inverse = diagonal_N[n] > 0 ? 1 / diagonal_N[n] : 0;
    for (let i = n * D; i < (n + 1) * D; i++) out_ND[i] = gradient_ND[i] * inverse;
  }
}

/** Scalar product of every column. */
function columnDots(a_ND: Float32Array, b_ND: Float32Array, D: number): Float64Array {
  const dot_D = new Float64Array(D);
  for (let base = 0; base < a_ND.length; base += D) {
    for (let d = 0; d < D; d++) dot_D[d] += a_ND[base + d] * b_ND[base + d];
  }
  return dot_D;
}
