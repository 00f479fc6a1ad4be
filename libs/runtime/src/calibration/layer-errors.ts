/**
 * CompressKV's layer importance (arXiv:2508.02401): how much of a layer's attention output is
 * lost when it keeps 32 tokens, the last 8 and the 24 that its retrieval heads vote for.
 *
 *   error(l) = ‖A_kept - A_full‖ / ‖A_full‖ over sampled queries of the text, all heads together
 *
 * The authors compare after the output projection and measure on the sets they report; this is
 * before it, on other texts.
 *
 * @module
 */
import { type MatMul, SCORERS } from "@kvault/compression";
import { globalLayers } from "@kvault/model";
import type { ModelRunner, PrefilledContext } from "../model-runner.ts";
import { attendVisible, scaledLogits, squaredError } from "./sampled-attention.ts";

export const ERROR_WINDOW = 8;
const KEPT_TOKENS = 32;

/** Errors `[global layer]` of a context that was read with sampled queries; `window_LHS` is its window's attention. */
export async function measureLayerErrors(
  { config }: ModelRunner,
  context: PrefilledContext,
  window_LHS: readonly Float32Array[],
  retrieval_LH: Float32Array,
  matMul: MatMul,
): Promise<Float32Array> {
  const { numKvHeads: K, numQueryHeads, headDim: D } = config;
  const layers = globalLayers(config);
  const scorer = SCORERS.get("compresskv")!.create({ window: ERROR_WINDOW });
  const error_L = new Float32Array(layers.length);
  for (const [l, layer] of layers.entries()) {
    const { key_KSD, value_KSD, seqLen: S } = context.layer(layer);
    const score_KS = new Float32Array(K * S);
    const sizes = { layer: l, numLayers: layers.length, numKvHeads: K, numQueryHeads, seqLen: S, headDim: D, prefixTokens: 0 };
    const profile = { "retrieval-heads": retrieval_LH };
    scorer.score({ ...sizes, windowAttention_HS: window_LHS[layer], profile }, score_KS);
    const kept = new Set(bestPositions(score_KS.subarray(0, S), KEPT_TOKENS));
    const query_KMD = context.queries![layer];
    const size = query_KMD.length / K;
    let error = 0;
    let norm = 0;
    for (let k = 0; k < K; k++) {
      const head = {
        headDim: D,
        query_MD: query_KMD.subarray(k * size, (k + 1) * size),
        key_SD: key_KSD.subarray(k * S * D, (k + 1) * S * D),
        value_SD: value_KSD.subarray(k * S * D, (k + 1) * S * D),
      };
      const logit_MS = await scaledLogits(head, matMul);
      const full_MD = await attendVisible(head, logit_MS, () => true, matMul);
      const kept_MD = await attendVisible(head, logit_MS, (_, s) => kept.has(s), matMul);
      const found = squaredError(kept_MD, full_MD);
      error += found.error;
      norm += found.norm;
    }
    error_L[l] = norm === 0 ? 0 : Math.sqrt(error / norm);
  }
  return error_L;
}

/** Errors of several texts as one profile: each made to sum to 1, then their mean. */
export function layerShares(errors: readonly Float32Array[]): Float32Array {
  const share_L = new Float32Array(errors[0]?.length ?? 0);
  for (const error_L of errors) {
    const sum = error_L.reduce((total, error) => total + error, 0);
    for (let l = 0; l < share_L.length; l++) share_L[l] += (sum === 0 ? 1 / share_L.length : error_L[l] / sum) / errors.length;
  }
  return share_L;
}

function bestPositions(score_S: Float32Array, count: number): Uint32Array {
  const order = Uint32Array.from(score_S.keys()).sort((a, b) => score_S[b] - score_S[a] || a - b);
  return order.subarray(0, count);
}
