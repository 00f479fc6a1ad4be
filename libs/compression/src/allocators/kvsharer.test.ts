import { createRng } from "@kvault/core";
import { makeDenseLayer } from "@kvault/core/testing";
import { describe, expect, test } from "vitest";
import { keepRows, layerRows, reportSelection, type ScoreSource, selectPairs, sourceLayer } from "../pipeline.ts";
import { resolveSpec } from "../plan.ts";
import { kvsharer } from "./kvsharer.ts";

const sizes = { numLayers: 4, numKvHeads: 2, headDim: 4, seqLen: 12, prefixTokens: 2 };
const dense = Array.from({ length: sizes.numLayers }, (_, l) => makeDenseLayer(createRng(l), sizes));

function sourceOf(layerMap?: readonly number[]): ScoreSource {
  return {
    ...sizes,
    ...(layerMap === undefined ? {} : { profile: { "layer-map": Float32Array.from(layerMap) } }),
    layer: (layer) => ({ ...sizes, ...dense[layer], layer }),
  };
}

describe("kvsharer", () => {
  test("the identity map changes nothing", () => {
    const shared = selectPairs(resolveSpec("l2norm|kvsharer|top-k(keep=0.5)|f16"), sourceOf([0, 1, 2, 3]));
    const plain = selectPairs(resolveSpec("l2norm|uniform|top-k(keep=0.5)|f16"), sourceOf());
    expect({ ...shared, source_L: undefined }).toEqual({ ...plain, source_L: undefined });
    expect([0, 1, 2, 3].map((layer) => sourceLayer(shared, layer))).toEqual([0, 1, 2, 3]);
  });

  test.each([
    "none|kvsharer|top-k(keep=1)|f16",
    "l2norm|kvsharer|top-k(keep=0.4)|f16",
    "keydiff|kvsharer|top-k(keep=0.55)|leankv",
  ])("%s: a shared layer has the rows of its source", (spec) => {
    const selection = selectPairs(resolveSpec(spec), sourceOf([0, 1, 0, 1]));
    for (const [layer, source] of [0, 1, 0, 1].entries()) {
      expect(sourceLayer(selection, layer)).toBe(source);
      expect(layerRows(selection, layer)).toEqual(layerRows(selection, source));
      const rows = keepRows(selection, layer, dense[sourceLayer(selection, layer)]);
      expect(rows).toEqual(keepRows(selection, source, dense[source]));
    }
    const { keepRatio } = reportSelection(selection);
    expect(keepRatio).toBeCloseTo(resolveSpec(spec).keepRatio, 1);
  });

  test("needs its map where nothing is scored, too", () => {
    expect([...resolveSpec("kvsharer").profiles]).toEqual(["layer-map"]);
    expect(() => selectPairs(resolveSpec("kvsharer"), sourceOf())).toThrow(RangeError);
  });

  test.each([
    [[0, 2, 2, 3], "a later layer"],
    [[0, 0, 1, 3], "a layer that reads another"],
    [[0, 1, 1.5, 3], "no layer"],
    [[0, -1, 2, 3], "a negative layer"],
  ])("%j, which reads %s, is refused", (layerMap) => {
    const { sourceLayers } = kvsharer.create({});
    const profile = { "layer-map": Float32Array.from(layerMap) };
    expect(() => sourceLayers?.({ numLayers: 4, profile })).toThrow(expect.objectContaining({ code: "MODEL_CORRUPT" }));
  });
});
