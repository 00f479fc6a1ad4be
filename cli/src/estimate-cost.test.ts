import type { Context } from "@kvault/client";
import { describe, expect, test } from "vitest";
import { estimateCost } from "./estimate-cost.ts";

const MODEL = { name: "tiny", numLayers: 2, numKvHeads: 3, headDim: 4 };
const seconds = { queue: 9, load: 9, prefill: 2, score: 1, compress: 0.5, publish: 0.5 };

function built(spec: string, tokens: number, keepRatio: number, storedBytes: number, time = 0): Context {
  const rawBytesF16 = tokens * 2 * 3 * 4 * 4;
  return {
    model: "tiny",
    spec,
    createTime: new Date(time),
    report: { contextTokens: tokens, keepRatio, rawBytesF16, storedBytes, seconds },
  } as unknown as Context;
}

describe("estimateCost()", () => {
  test("knows raw bytes exactly, and without any context nothing but the ratio", () => {
    const cost = estimateCost({ model: MODEL, contextTokens: 100, spec: "a", keepRatio: 0.3, known: [] });
    expect(cost).toEqual({ rawBytesF16: 9_600, storedBytes: 2_880, numContexts: 0 });
  });
  test("goes by contexts with the same spec", () => {
    const known = [built("a", 50, 0.3, 480), built("b", 50, 0.3, 4_800), { ...built("a", 50, 0.3, 1), model: "other" }];
    const cost = estimateCost({ model: MODEL, contextTokens: 100, spec: "a", keepRatio: 0.3, known });
    expect(cost).toEqual({ rawBytesF16: 9_600, storedBytes: 960, seconds: 8, numContexts: 1 });
  });
  test("takes the time of other specs when there is none of its own, not their bytes", () => {
    const known = [built("b", 400, 0.5, 10)];
    const cost = estimateCost({ model: MODEL, contextTokens: 100, spec: "a", keepRatio: 0.3, known });
    expect(cost).toMatchObject({ storedBytes: 2_880, seconds: 1, numContexts: 1 });
  });
  test("for the default method it goes by contexts that kept as much, the latest five", () => {
    const known = [...Array.from({ length: 6 }, (_, i) => built("x", 100, 0.3, 960, i + 1)), built("x", 100, 0.3, 9_600, 0)];
    const cost = estimateCost({ model: MODEL, contextTokens: 100, keepRatio: 0.3, known });
    expect(cost).toMatchObject({ storedBytes: 960, seconds: 4, numContexts: 5 });
  });
});
