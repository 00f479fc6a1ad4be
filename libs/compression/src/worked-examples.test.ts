/**
 * Examples worked out by hand that belong to no single part: whole methods on a head of a few
 * tokens. Those of one part are beside it, or are the part's own `example`.
 */
import { alignedView, decodeF16 } from "@kvault/core";
import { toBeAllclose } from "@kvault/core/testing";
import { expect, test } from "vitest";
import { createKivi } from "./codecs/kivi.ts";
import { selectPairs } from "./pipeline.ts";
import { resolveSpec, scorerFromSpec } from "./plan.ts";
import type { ScorerLayer } from "./types.ts";

expect.extend({ toBeAllclose });

/** Positions that `spec` keeps of one head. */
function keptOf(spec: string, layer: Partial<ScorerLayer> & Pick<ScorerLayer, "seqLen" | "headDim">): number[] {
  const sizes = { numLayers: 1, numKvHeads: 1, prefixTokens: 0, ...layer };
  return [...selectPairs(resolveSpec(spec), { ...sizes, layer: (index) => ({ ...sizes, layer: index }) }).position_n];
}

test("streaming-llm keeps two sinks and the three latest of ten tokens, at their own positions", () => {
  expect(keptOf("streaming-llm(sinks=2)|uniform|top-k(keep=0.5)|f16", { seqLen: 10, headDim: 1 })).toEqual([0, 1, 7, 8, 9]);
});

test("l2norm keeps the half of the keys whose norms are least", () => {
  const key_KSD = Float32Array.of(3, 0, 0.5, 0, 0, 2, 2, 1);
  expect(keptOf("l2norm|uniform|top-k(keep=0.5)|f16", { seqLen: 4, headDim: 2, key_KSD })).toEqual([1, 2]);
});

test("keydiff keeps first what the mean direction is least like", () => {
  const key_KSD = Float32Array.of(3, 0, 0.5, 0, 0, 2, 2, 1);
  expect(keptOf("keydiff|uniform|top-k(keep=0.25)|f16", { seqLen: 4, headDim: 2, key_KSD })).toEqual([2]);
});

test("query heads 0 and 1 read KV head 0, 2 and 3 KV head 1: their means are 1.5 and 15", () => {
  const layer = {
    ...{ layer: 0, numLayers: 1, numKvHeads: 2, numQueryHeads: 4, seqLen: 2, headDim: 1, prefixTokens: 0 },
    // Position 0 received this by query head; the window is position 1 alone.
    windowAttention_HS: Float32Array.of(1, 0, 2, 0, 10, 0, 20, 0),
  };
  const out_KS = new Float32Array(4);
  scorerFromSpec("snapkv(window=1,kernel=1)").scorer.score(layer, out_KS);
  expect([out_KS[0], out_KS[2]]).toEqual([1.5, 15]);
});

test("kivi at 2 bits has the codes 1, 0, 3, 2 of .1, -.5, .9, .3, packed as 0b10110001", () => {
  const value_nD = Float32Array.of(0.1, -0.5, 0.9, 0.3);
  const layout = { numKvHeads: 1, headDim: 4, offset: Uint32Array.of(0, 1), position_n: Uint32Array.of(0) };
  const codec = createKivi({ bits: 2, group: 8, residual: 0 });
  const tensors = codec.encode({ ...layout, key_nD: value_nD, value_nD });
  expect([...tensors.get("v")!.data]).toEqual([0b10110001]);
  const scale = decodeF16(alignedView(tensors.get("v.scale")!.data, Uint16Array))[0];
  expect(scale).toBeCloseTo(0.46667, 3);
  const { value_nD: decoded } = codec.decode(tensors, layout);
  expect(decoded).toBeAllclose([-0.0333, -0.5, 0.9, 0.4333], { rtol: 0, atol: 2e-3 });
});
