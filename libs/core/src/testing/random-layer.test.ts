import { describe, expect, test } from "vitest";
import { checkRagged } from "../ragged.ts";
import { createRng } from "../rng.ts";
import { makeDenseLayer, makeRaggedLayer } from "./random-layer.ts";

const sizes = { numKvHeads: 3, seqLen: 17, headDim: 4 };

describe("makeDenseLayer()", () => {
  test("has every position, values in [-1, 1), the same for the same seed", () => {
    const layer = makeDenseLayer(createRng(1), sizes);
    expect(layer.key_KSD).toHaveLength(3 * 17 * 4);
    expect(layer.value_KSD).toHaveLength(3 * 17 * 4);
    expect([...layer.key_KSD, ...layer.value_KSD].every((x) => x >= -1 && x < 1)).toBe(true);
    expect(makeDenseLayer(createRng(1), sizes)).toEqual(layer);
    expect(makeDenseLayer(createRng(2), sizes)).not.toEqual(layer);
  });
});

describe("makeRaggedLayer()", () => {
  test("passes the ragged checks with rows of different length", () => {
    const layer = makeRaggedLayer(createRng(7), sizes);
    checkRagged(layer, sizes.seqLen);
    const lengths = [0, 1, 2].map((k) => (layer.offset[k + 1] as number) - (layer.offset[k] as number));
    expect(new Set(lengths).size).toBeGreaterThan(1);
    expect(makeRaggedLayer(createRng(7), sizes)).toEqual(layer);
  });
});
