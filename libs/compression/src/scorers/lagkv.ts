/**
 * LagKV: a token matters where it varies from what the next block of tokens makes of a channel.
 *
 * After `sinks` positions the context is cut into blocks of `lag`. With the least and largest
 * value of every channel in the *next* block,
 *
 *   u = (x - min) / (max - min),  w = softmax over the block of std over channels of u
 *   score = rank within the block of (w of the key + w of the value) / 2, divided by lag
 *
 * Paper: arXiv:2504.04704. The sinks, the last whole block and what follows it score 1: they
 * have no next block. A context too short for two blocks is ranked by recency. A channel that
 * is constant in the next block counts 0 (the authors' code divides by 0).
 * Cost: two passes over keys and values, and a sort per block.
 *
 * @module
 */
import { z } from "zod";
import type { ScorerFactory, ScorerLayer } from "../types.ts";

const params = z.strictObject({
  sinks: z.int().min(0).max(65_536).default(4).describe("leading positions kept first"),
  lag: z.int().min(2).max(65_536).default(128).describe("tokens of a block"),
});

export const lagkv: ScorerFactory = {
  name: "lagkv",
  summary: "spread of keys and values relative to the next block of tokens",
  source: "arXiv:2504.04704",
  params,
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 6, headDim: 1, prefixTokens: 0 },
      ...{ key_KSD: new Float32Array(6), value_KSD: new Float32Array(6) },
    },
    ranking: [0, 1, 2, 3, 5, 4],
  },
  create: (given) => {
    const { sinks, lag } = params.parse(given);
    return {
      needs: new Set(["keys", "values"] as const),
      queryAgnostic: true,
      score: (layer, out_KS) => scoreLagkv(layer, sinks, lag, out_KS),
    };
  },
};

/** `key_KSD`, `value_KSD` [kvHead, seq, headDim] → `out_KS` [kvHead, seq] in [0, 1]; higher is kept. */
function scoreLagkv(layer: ScorerLayer, sinks: number, lag: number, out_KS: Float32Array): void {
  const { numKvHeads: K, seqLen: S, headDim: D, key_KSD, value_KSD } = layer;
  if (key_KSD?.length !== K * S * D || value_KSD?.length !== K * S * D) {
    throw new RangeError(`Cannot score keys and values: [${K}, ${S}, ${D}] needs ${K * S * D} values of each`);
  }
  out_KS.fill(1, 0, K * S);
  if (S < sinks + 2 * lag) {
    for (let k = 0; k < K; k++) for (let s = sinks; s < S; s++) out_KS[k * S + s] = (s - sinks) / (S - sinks);
    return;
  }
  const blocks = Math.floor((S - sinks) / lag) - 1;
  const weight_n = new Float64Array(lag);
  const order = Array.from({ length: lag }, (_, i) => i);
  for (let k = 0; k < K; k++) {
    for (let b = 0; b < blocks; b++) {
      const row = k * S + sinks + b * lag;
      weight_n.fill(0);
      addSpread(key_KSD, row, lag, D, weight_n);
      addSpread(value_KSD, row, lag, D, weight_n);
      order.sort((x, y) => weight_n[x] - weight_n[y] || x - y);
      for (let rank = 0; rank < lag; rank++) out_KS[row + order[rank]] = rank / lag;
    }
  }
}

/** `weight_n += softmax over rows row … row + lag of the std over channels, ranges of the rows after them`. */
function addSpread(data_SD: Float32Array, row: number, lag: number, D: number, weight_n: Float64Array): void {
  const min_D = new Float64Array(D).fill(Number.POSITIVE_INFINITY);
  const max_D = new Float64Array(D).fill(Number.NEGATIVE_INFINITY);
  for (let s = row + lag; s < row + 2 * lag; s++) {
    for (let d = 0; d < D; d++) {
      const x = data_SD[s * D + d];
      if (x < min_D[d]) min_D[d] = x;
      if (x > max_D[d]) max_D[d] = x;
    }
  }
  const spread_n = new Float64Array(lag);
  let largest = 0;
  for (let i = 0; i < lag; i++) {
    let sum = 0;
    let squares = 0;
    for (let d = 0; d < D; d++) {
      const range = max_D[d] - min_D[d];
      const u = range > 0 ? (data_SD[(row + i) * D + d] - min_D[d]) / range : 0;
      sum += u;
      squares += u * u;
    }
    spread_n[i] = D === 1 ? 0 : Math.sqrt(Math.max(0, squares - (sum * sum) / D) / (D - 1));
    if (spread_n[i] > largest) largest = spread_n[i];
  }
  let total = 0;
  for (let i = 0; i < lag; i++) total += Math.exp(spread_n[i] - largest);
  for (let i = 0; i < lag; i++) weight_n[i] += Math.exp(spread_n[i] - largest) / total;
}
