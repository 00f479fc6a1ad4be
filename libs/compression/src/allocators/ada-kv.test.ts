import { readFileSync } from "node:fs";
import { alignedView, decodeSafetensors } from "@kvault/core";
import { describe, expect, test } from "vitest";
import { topK } from "../selectors/top-k.ts";
import { createDefault } from "../testing/check.ts";
import type { ScoreSet } from "../types.ts";
import { adaKv } from "./ada-kv.ts";

const { select } = createDefault(topK);

function scoresOf(...rows: number[][]): ScoreSet {
  const sizes = { numLayers: 1, numKvHeads: rows.length, headDim: 1, seqLen: rows[0].length };
  return { ...sizes, score_LKS: Float32Array.from(rows.flat()) };
}

const EXAMPLE = scoresOf([0.5, 0.2, 0.1, 0.08, 0.06, 0.06], [0.25, 0.2, 0.2, 0.15, 0.1, 0.1]);

describe("ada-kv", () => {
  test("mixes hits with the mean and keeps the sum", () => {
    // Hits 2 and 4, mean 3: 2.2 and 3.8; hits 16 and 4, mean 10: 14.8 and 5.2.
    expect([...adaKv.create({ floor: 0.2 }).allocate(EXAMPLE, 0, 6)]).toEqual([2, 4]);
    const row = (high: number): number[] => Array.from({ length: 20 }, (_, s) => (s < high ? 1 : 0));
    expect([...adaKv.create({ floor: 0.2 }).allocate(scoresOf(row(16), row(4)), 0, 20)]).toEqual([15, 5]);
  });

  test("with a floor of everything is uniform, of nothing counts hits", () => {
    expect([...adaKv.create({ floor: 1 }).allocate(EXAMPLE, 0, 6)]).toEqual([3, 3]);
    expect([...adaKv.create({ floor: 0 }).allocate(EXAMPLE, 0, 6)]).toEqual([2, 4]);
  });

  test("gives every layer the same, the lower ones what does not divide", () => {
    const score_LKS = Float32Array.from({ length: 3 * 2 * 10 }, (_, i) => (i * 7) % 13);
    const counts = adaKv.create({}).allocate({ numLayers: 3, numKvHeads: 2, headDim: 1, seqLen: 10, score_LKS }, 0, 20);
    expect([counts[0] + counts[1], counts[2] + counts[3], counts[4] + counts[5]]).toEqual([7, 7, 6]);
  });

  test("with ties hands out the whole budget to the lower head", () => {
    expect([...adaKv.create({ floor: 0.5, form: "kvpress" }).allocate(scoresOf([1, 1, 1, 1], [1, 1, 1, 1]), 0, 4)]).toEqual([
      3, 1,
    ]);
  });

  test.each(["qwen2.5-coder-0.5b", "smollm2-135m"])("of form kvpress keeps the pairs kvpress keeps, on %s", (model) => {
    const file = readFileSync(new URL(`../../../../tests/fixtures/${model}.safetensors`, import.meta.url));
    const { tensors } = decodeSafetensors(file);
    const score = tensors.get("score.keydiff")!;
    const kept_LKS = tensors.get("kept.adakv_keydiff_0.5")!.data;
    const [numLayers, numKvHeads, seqLen] = score.shape;
    const score_LKS = alignedView(score.data, Float32Array);
    const total = kept_LKS.reduce((sum, one) => sum + one, 0);
    const budget_LK = adaKv
      .create({ form: "kvpress" })
      .allocate({ numLayers, numKvHeads, headDim: 1, seqLen, score_LKS }, 0, total);
    let same = 0;
    for (const [row, budget] of budget_LK.entries()) {
      for (const s of select(score_LKS.subarray(row * seqLen, (row + 1) * seqLen), 0, budget)) same += kept_LKS[row * seqLen + s];
    }
    expect(same).toBe(total);
  });
});
