/**
 * KVzip+: KVzip's attention, weighed by what it moves.
 *
 * NVIDIA/kvpress (`kvzip_plus_normalization`; the target of KVzap, arXiv:2601.07891). With a the
 * attention of the repeat pass (scorers/kvzip.ts), W_O^(h) the slice of the output projection of
 * query head h and x_t the hidden state that enters attention at row t:
 *
 *   score[k, s] = max over query heads h of the group and query tokens t of a[h, t, s] · ‖W_O^(h) v_s‖₂ / ‖x_t‖₂
 *
 * so a position that is looked at but says little scores low. Weighed inside the repeat graph
 * (libs/model repeat-contribution.ts). Cost: KVzip's, and a product of head size with itself per
 * query head and position.
 *
 * @module
 */
import type { ScorerFactory } from "../types.ts";
import { kvzip, repeatPassOf, scoreRepeat } from "./kvzip.ts";

export const kvzipPlus: ScorerFactory = {
  name: "kvzip-plus",
  summary: "KVzip's attention times what the value adds, over the hidden state that asks",
  source: "arXiv:2601.07891",
  params: kvzip.params,
  example: kvzip.example,
  create: (given) => ({
    needs: new Set(["repeat-attention"] as const),
    repeatPass: { ...repeatPassOf(given), normalised: true },
    queryAgnostic: true,
    score: scoreRepeat,
  }),
};
