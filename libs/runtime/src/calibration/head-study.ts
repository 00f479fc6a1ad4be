/**
 * What single KV heads do on one text, from sampled queries of its own, causal:
 *
 * - BaKlaVa (arXiv:2502.13176): importance = 1 - cosine of attention's input and output, here the
 *   value of the query's own position and what the head puts out. A head that only looks at
 *   itself has none. The paper compares the block's input; no code of it is public.
 * - DuoAttention (arXiv:2410.10819): relative squared error when the head sees only the first and
 *   last tokens, at most 1, in place of gates that the paper trains.
 *
 * Cost: one prefill, then `QUERIES` softmax rows per KV head.
 *
 * @module
 */
import { type MatMul, sampleQueries } from "@kvault/compression";
import { globalLayers } from "@kvault/model";
import type { ModelRunner, PrefilledContext } from "../model-runner.ts";
import { attendVisible, scaledLogits, squaredError } from "./sampled-attention.ts";

/** Sampled queries of a KV head. */
export const STUDY_QUERIES = 256;
/** What a streaming head sees: the paper's training setting. */
const SINKS = 128;
const RECENT = 256;

export interface HeadStudy {
  /** `[global layer, kvHead]`, in [0, 1]. */
  readonly baklava_LK: Float32Array;
  readonly duo_LK: Float32Array;
}

/** Studies a context that was read with `numQueries: STUDY_QUERIES`. */
export async function studyHeads({ config }: ModelRunner, context: PrefilledContext, matMul: MatMul): Promise<HeadStudy> {
  const { numKvHeads: K, numQueryHeads, headDim: D } = config;
  const layers = globalLayers(config);
  const { token_M } = sampleQueries(context.seqLen, numQueryHeads / K, STUDY_QUERIES);
  const M = token_M.length;
  const baklava_LK = new Float32Array(layers.length * K);
  const duo_LK = new Float32Array(layers.length * K);
  for (const [l, layer] of layers.entries()) {
    const { key_KSD, value_KSD, seqLen: S } = context.layer(layer);
    for (let k = 0; k < K; k++) {
      const head = {
        headDim: D,
        query_MD: context.queries![layer].subarray(k * M * D, (k + 1) * M * D),
        key_SD: key_KSD.subarray(k * S * D, (k + 1) * S * D),
        value_SD: value_KSD.subarray(k * S * D, (k + 1) * S * D),
      };
      const logit_MS = await scaledLogits(head, matMul);
      const full_MD = await attendVisible(head, logit_MS, (m, s) => s <= token_M[m], matMul);
      const isStreamed = (m: number, s: number): boolean => s <= token_M[m] && (s < SINKS || s > token_M[m] - RECENT);
      const streamed_MD = await attendVisible(head, logit_MS, isStreamed, matMul);
      let importance = 0;
      for (let m = 0; m < M; m++) importance += 1 - cosine(head.value_SD, token_M[m] * D, full_MD, m * D, D);
      const { error, norm } = squaredError(streamed_MD, full_MD);
      baklava_LK[l * K + k] = Math.min(1, Math.max(0, importance / M));
      duo_LK[l * K + k] = norm === 0 ? 0 : Math.min(1, error / norm);
    }
  }
  return { baklava_LK, duo_LK };
}

function cosine(a: Float32Array, aFrom: number, b: Float32Array, bFrom: number, D: number): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let d = 0; d < D; d++) {
    dot += a[aFrom + d] * b[bFrom + d];
    aa += a[aFrom + d] ** 2;
    bb += b[bFrom + d] ** 2;
  }
  return aa === 0 || bb === 0 ? 1 : dot / Math.sqrt(aa * bb);
}
