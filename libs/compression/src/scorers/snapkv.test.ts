import { createRng } from "@kvault/core";
import { toBeAllclose } from "@kvault/core/testing";
import { expect, test } from "vitest";
import { windowAttentionReference } from "../testing/window-attention-reference.ts";
import type { ScorerLayer } from "../types.ts";
import { snapkv } from "./snapkv.ts";
import { tova } from "./tova.ts";

expect.extend({ toBeAllclose });

function layerOf(numKvHeads: number, seqLen: number, rows: readonly (readonly number[])[]): ScorerLayer {
  const sizes = { layer: 0, numLayers: 1, numKvHeads, numQueryHeads: rows.length, seqLen, headDim: 1, prefixTokens: 0 };
  return { ...sizes, windowAttention_HS: Float32Array.from(rows.flat()) };
}

function scoresOf(params: Record<string, unknown>, layer: ScorerLayer): Float32Array {
  const out_KS = new Float32Array(layer.numKvHeads * layer.seqLen);
  snapkv.create(params).score(layer, out_KS);
  return out_KS;
}

test("snapkv averages neighbouring query heads into their KV head", () => {
  const rows = [
    [1, 0],
    [2, 0],
    [10, 0],
    [20, 0],
  ];
  const score_KS = scoresOf({ window: 1, kernel: 1 }, layerOf(2, 2, rows));
  expect([score_KS[0], score_KS[2]]).toEqual([1.5, 15]);
});

test("snapkv pools maxima of each query head before it averages the group", () => {
  const rows = [
    [1, 0, 0, 0],
    [0, 0, 3, 0],
  ];
  expect([...scoresOf({ window: 1, kernel: 3, pooling: "max" }, layerOf(1, 4, rows)).subarray(0, 3)]).toEqual([0.5, 2, 1.5]);
});

test("snapkv does not let the window leak into the pooled scores before it", () => {
  const score_S = scoresOf({ window: 2, kernel: 5 }, layerOf(1, 5, [[0.5, 0, 0, 9, 9]]));
  expect(score_S.subarray(0, 3)).toBeAllclose([0.1, 0.1, 0.1]);
});

test("snapkv keeps the latest of a window that does not fit", () => {
  const score_S = scoresOf({ window: 64 }, layerOf(1, 6, [[9, 9, 9, 1, 1, 1]]));
  expect([...score_S.keys()].sort((a, b) => score_S[b] - score_S[a])).toEqual([5, 4, 3, 2, 1, 0]);
});

test("snapkv of one head, one token and no pooling is tova", () => {
  const rng = createRng(3);
  const rows = [Array.from({ length: 20 }, () => rng.next())];
  const byTova = new Float32Array(20);
  tova.create({}).score(layerOf(1, 20, rows), byTova);
  expect(scoresOf({ window: 1, kernel: 1 }, layerOf(1, 20, rows))).toEqual(byTova);
});

test("snapkv of real rows is the mean of the window's softmax, up to the window's length", () => {
  const rng = createRng(9);
  const [seqLen, headDim, window] = [24, 4, 6];
  const vectors = (): number[] => Array.from({ length: seqLen * headDim }, () => 4 * rng.next() - 2);
  const key_SD = vectors();
  const heads = [0, 1].map(() => windowAttentionReference({ headDim, query_SD: vectors(), key_SD }, window));
  const score_S = scoresOf({ window, kernel: 1 }, layerOf(1, seqLen, [[...heads[0]], [...heads[1]]]));
  const before = seqLen - window;
  const expected = Array.from({ length: before }, (_, s) => (heads[0][s] + heads[1][s]) / 2);
  expect(score_S.subarray(0, before)).toBeAllclose(expected);
  expect(heads[0].reduce((a, b) => a + b)).toBeCloseTo(window, 12);
});

test("snapkv refuses query heads that do not divide among the KV heads", () => {
  const layer = { ...layerOf(2, 2, [[1, 0]]), numQueryHeads: 3, windowAttention_HS: new Float32Array(6) };
  expect(() => scoresOf({}, layer)).toThrow(RangeError);
});
