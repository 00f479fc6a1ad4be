import { expect, test } from "vitest";
import { describeMethods } from "./describe.ts";

test("describeMethods() lists every part with its parameters and every preset in full", () => {
  const { scorers, allocators, selectors, codecs, presets } = describeMethods();
  expect(scorers.map(({ name }) => name)).toEqual(["kvzip", "l2norm", "streaming-llm", "random", "none"]);
  expect(scorers[0]).toEqual({
    name: "kvzip",
    summary: "largest attention received while the model repeats the context",
    source: "arXiv:2505.23416",
    params: [
      { name: "chunk", summary: "context tokens repeated per prompt", default: 2000 },
      { name: "form", summary: expect.any(String), default: "paper", values: ["paper", "kvpress"] },
    ],
  });
  expect([allocators, selectors, codecs].map((axis) => axis.length)).toEqual([2, 1, 3]);
  expect(presets.find(({ name }) => name === "streaming-llm")?.spec).toBe("streaming-llm(sinks=4)|uniform|top-k(keep=0.5)|f16");
  expect(JSON.parse(JSON.stringify(describeMethods()))).toEqual(describeMethods());
});
