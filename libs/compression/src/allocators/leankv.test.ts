import { expect, test } from "vitest";
import { leankv } from "./leankv.ts";

const scores = {
  ...{ numLayers: 1, numKvHeads: 2, headDim: 1, seqLen: 4 },
  score_LKS: Float32Array.of(0.97, 0.01, 0.01, 0.01, 0.25, 0.2, 0.3, 0.25),
};

test("leankv keeps few of a head that knows what it wants and many of one that does not", () => {
  const { allocate, chooseTotal } = leankv.create({ low: 0.5 });
  expect(chooseTotal?.(scores, 0, 8)).toBe(5);
  expect([...allocate(scores, 0, 5)]).toEqual([1, 4]);
});

test("leankv keeps everything above a share of nothing, and the best under a ceiling", () => {
  expect(leankv.create({ low: 0 }).chooseTotal?.(scores, 0, 8)).toBe(8);
  const { allocate, chooseTotal } = leankv.create({});
  expect(chooseTotal?.(scores, 0, 2)).toBe(2);
  expect([...allocate(scores, 0, 2)]).toEqual([1, 1]);
});
