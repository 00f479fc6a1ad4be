/**
 * Surrogate of KVzip: its scores predicted from the hidden states, at the cost of one small
 * matrix product per layer inside prefill.
 *
 *   score[k, s] = predicted ln(KVzip score of pair (k, s))
 *
 * In the manner of KVzap (arXiv:2601.07891), with weights of our own: per layer a ridge
 * regression from the standardised hidden state that enters attention to `ln max(score, 1e-6)`
 * (`kvault calibrate`). Log scores are comparable over layers and heads, so that one global cut
 * serves. With `recent`, the last tokens are kept first, as KVzap's window is. The prefix is
 * not scored by KVzip and stands at 0.
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory, ScorerLayer } from "../types.ts";
import { favourWindow } from "./window-attention.ts";

const params = z.strictObject({
  recent: z.int().min(0).max(65_536).default(0).describe("last context tokens kept first"),
});

export const surrogate: ScorerFactory = {
  name: "surrogate",
  summary: "KVzip's scores predicted from hidden states during prefill",
  source: "arXiv:2601.07891",
  params,
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 4, headDim: 1, prefixTokens: 1 },
      surrogate_KS: Float32Array.of(-9, -2, -1, -3),
    },
    ranking: [0, 2, 1, 3],
  },
  create: (given) => {
    const { recent } = params.parse(given);
    return {
      needs: new Set(["surrogate"] as const),
      queryAgnostic: true,
      score: (layer, out_KS) => scoreSurrogate(layer, recent, out_KS),
    };
  },
};

/** `surrogate_KS` [kvHead, seq] → `out_KS`; higher is kept. */
function scoreSurrogate(layer: ScorerLayer, recent: number, out_KS: Float32Array): void {
  const { numKvHeads: K, seqLen: S, prefixTokens, surrogate_KS } = layer;
  if (surrogate_KS?.length !== K * S) {
    throw new RangeError(`Cannot score by surrogate: [${K}, ${S}] needed, found ${surrogate_KS?.length ?? "none"}`);
  }
  for (let k = 0; k < K; k++) {
    const score_S = out_KS.subarray(k * S, (k + 1) * S);
    for (let s = 0; s < S; s++) score_S[s] = s < prefixTokens ? 0 : surrogate_KS[k * S + s];
    if (recent > 0) favourWindow(score_S, recent);
  }
}
