import { expect, test } from "vitest";
import { selectPairs } from "../pipeline.ts";
import { resolveSpec } from "../plan.ts";
import { duo } from "./duo.ts";

const sizes = { numLayers: 2, numKvHeads: 2, headDim: 1, seqLen: 20 };
const profile = { "kvzip-heads": Float32Array.of(0.1, 0.9, 0.5, 0.2) };

test("duo fills the best heads and leaves the others their window", () => {
  const scores = { ...sizes, score_LKS: new Float32Array(80), profile };
  const { allocate } = duo.create({ sinks: 2, recent: 3 });
  expect([...allocate(scores, 0, 4 * 5 + 15)]).toEqual([5, 20, 5, 5]);
  expect([...allocate(scores, 0, 4 * 5 + 20)]).toEqual([5, 20, 10, 5]);
  expect([...allocate(scores, 0, 18)]).toEqual([5, 5, 4, 4]);
});

test("duo with streaming scores keeps sinks and recent tokens in streaming heads, all in the others", () => {
  const plan = resolveSpec("streaming-llm(sinks=2)|duo(sinks=2,recent=3)|top-k(keep=0.4375)|f16");
  const source = { ...sizes, prefixTokens: 0 };
  const selection = selectPairs(plan, { ...source, profile, layer: (layer) => ({ ...source, layer }) });
  expect([...selection.position_n.subarray(0, 5)]).toEqual([0, 1, 17, 18, 19]);
  expect([...selection.offset_LK]).toEqual([0, 5, 25, 30, 35]);
});
