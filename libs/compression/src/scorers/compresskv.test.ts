import { createRng } from "@kvault/core";
import { toBeAllclose } from "@kvault/core/testing";
import { expect, test } from "vitest";
import type { ScorerLayer } from "../types.ts";
import { compresskv } from "./compresskv.ts";
import { snapkv } from "./snapkv.ts";

expect.extend({ toBeAllclose });

const [K, H, S, W] = [2, 4, 20, 3];

function layerOf(retrieval: readonly number[]): ScorerLayer {
  const rng = createRng(2);
  return {
    ...{ layer: 1, numLayers: 2, numKvHeads: K, numQueryHeads: H, seqLen: S, headDim: 1, prefixTokens: 0 },
    windowAttention_HS: Float32Array.from({ length: H * S }, () => rng.next()),
    profile: { "retrieval-heads": Float32Array.of(9, 9, 9, 9, ...retrieval) },
  };
}

function scoresOf(heads: number, layer: ScorerLayer): Float32Array {
  const out_KS = new Float32Array(K * S);
  compresskv.create({ heads, window: W }).score(layer, out_KS);
  return out_KS;
}

test("compresskv gives every KV head the ranking of its own layer's best retrieval heads", () => {
  const one = layerOf([0.1, 0.2, 0.9, 0.3]);
  const score_KS = scoresOf(1, one);
  expect(score_KS.subarray(S)).toEqual(score_KS.subarray(0, S));
  const alone = { ...one, numKvHeads: 1, numQueryHeads: 1, windowAttention_HS: one.windowAttention_HS!.subarray(2 * S, 3 * S) };
  const expected_S = new Float32Array(S);
  snapkv.create({ window: W }).score(alone, expected_S);
  expect(score_KS.subarray(0, S)).toBeAllclose(expected_S, { rtol: 1e-6 });
});

test("compresskv of all heads is SnapKV with a mean over all heads", () => {
  const layer = layerOf([0.1, 0.2, 0.9, 0.3]);
  const bySnap_KS = new Float32Array(K * S);
  snapkv.create({ window: W }).score(layer, bySnap_KS);
  const mean = Array.from({ length: S - W }, (_, s) => (bySnap_KS[s] + bySnap_KS[S + s]) / 2);
  expect(scoresOf(H, layer).subarray(0, S - W)).toBeAllclose(mean, { rtol: 1e-6 });
});
