import { expect, test } from "vitest";
import { topK } from "../selectors/top-k.ts";
import { createDefault } from "../testing/check.ts";
import { streamingLlm } from "./streaming-llm.ts";

function keptOf(seqLen: number, sinks: number, prefixTokens: number, budget: number): number[] {
  const out_KS = new Float32Array(seqLen);
  streamingLlm.create({ sinks }).score({ layer: 0, numLayers: 1, numKvHeads: 1, seqLen, headDim: 1, prefixTokens }, out_KS);
  return [...createDefault(topK).select(out_KS, prefixTokens, budget)];
}

test("streaming-llm keeps the sinks and the most recent positions", () => {
  expect(keptOf(10, 2, 0, 5)).toEqual([0, 1, 7, 8, 9]);
});

test("streaming-llm counts sinks from the start of the sequence, prefix included", () => {
  expect(keptOf(10, 4, 3, 3)).toEqual([0, 1, 2, 3, 8, 9]);
  expect(keptOf(10, 4, 6, 2)).toEqual([0, 1, 2, 3, 4, 5, 8, 9]);
});

test("streaming-llm keeps the first sinks where even they do not fit", () => {
  expect(keptOf(10, 4, 0, 2)).toEqual([0, 1]);
});
