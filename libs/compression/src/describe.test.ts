import { expect, test } from "vitest";
import { describeMethods } from "./describe.ts";
import { ALLOCATORS, CODECS, SCORERS, SELECTORS } from "./registry.ts";

test("describeMethods() lists every part with its parameters and every preset in full", () => {
  const { scorers, allocators, selectors, codecs, presets } = describeMethods();
  const names = [scorers, allocators, selectors, codecs].map((axis) => axis.map(({ name }) => name));
  expect(names).toEqual([SCORERS, ALLOCATORS, SELECTORS, CODECS].map((table) => [...table.keys()]));
  expect(scorers[0]).toEqual({
    name: "kvzip",
    summary: "largest attention received while the model repeats the context",
    source: "arXiv:2505.23416",
    params: [
      { name: "chunk", summary: "context tokens repeated per prompt", default: 2000 },
      { name: "form", summary: expect.any(String), default: "paper", values: ["paper", "kvpress"] },
    ],
  });
  expect(presets.find(({ name }) => name === "streaming-llm")?.spec).toBe("streaming-llm(sinks=4)|uniform|top-k(keep=0.5)|f16");
  expect(presets.find(({ name }) => name === "kvault")).toMatchObject({
    ...{ scorer: "surrogate", allocator: "global", selector: "top-k", refit: "refit", codec: "pre-rope" },
    ...{ queryAgnostic: true, ragged: true, needs: ["surrogate"], needsProfile: ["surrogate"] },
  });
  expect(presets.find(({ name }) => name === "compresskv")).toMatchObject({
    ...{ ragged: false, needs: ["window-attention"], needsProfile: ["retrieval-heads", "layer-errors"] },
  });
  const one = describeMethods({ modelsWith: (name) => (name === "layer-errors" ? ["a", "b"] : ["b"]) });
  expect(one.presets.find(({ name }) => name === "compresskv")).toMatchObject({ paper: "arXiv:2508.02401", profiledFor: ["b"] });
  expect(one.presets.find(({ name }) => name === "none")).toMatchObject({ needsProfile: [], profiledFor: [] });
  expect(JSON.parse(JSON.stringify(describeMethods()))).toEqual(describeMethods());
});
