import { expect, test } from "vitest";
import { createDefault } from "../testing/check.ts";
import { uniform } from "./uniform.ts";

test("uniform gives what does not divide to the lowest layers and heads", () => {
  const scores = { numLayers: 2, numKvHeads: 3, seqLen: 5, headDim: 1, score_LKS: new Float32Array(30) };
  expect([...createDefault(uniform).allocate(scores, 1, 14)]).toEqual([3, 3, 2, 2, 2, 2]);
});
