import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkRagged, gatherRagged, type RaggedLayerKv, rowLength } from "./ragged.ts";
import { createRng } from "./rng.ts";
import { makeDenseLayer, makeRaggedLayer } from "./testing/random-layer.ts";

const sizes = { numKvHeads: 2, seqLen: 10, headDim: 3 };

/** Rows 0: positions 1 4, 1: positions 0 9. */
function smallLayer(changes: Partial<RaggedLayerKv> = {}): RaggedLayerKv {
  const offset = Uint32Array.of(0, 2, 4);
  const position_n = Uint32Array.of(1, 4, 0, 9);
  return { ...gatherRagged(makeDenseLayer(createRng(1), sizes), offset, position_n), ...changes };
}

describe("checkRagged()", () => {
  test("accepts any gathered layer, empty and full rows included", () => {
    fc.assert(
      fc.property(fc.nat(), fc.integer({ min: 1, max: 4 }), fc.integer({ min: 0, max: 9 }), (seed, numKvHeads, seqLen) => {
        const layer = makeRaggedLayer(createRng(seed), { numKvHeads, seqLen, headDim: 2 });
        expect(() => checkRagged(layer, seqLen)).not.toThrow();
      }),
    );
  });

  test.each<[string, Partial<RaggedLayerKv>, string]>([
    ["too few offsets", { offset: Uint32Array.of(0, 4) }, "2 offsets for 2 heads"],
    ["offsets that start late", { offset: Uint32Array.of(1, 2, 4) }, "offsets span 1..4, positions 4"],
    ["offsets that end early", { offset: Uint32Array.of(0, 2, 3) }, "offsets span 0..3, positions 4"],
    ["offsets that fall", { offset: Uint32Array.of(0, 2, 1, 4), numKvHeads: 3 }, "head 1 spans 2..1 of 4"],
    ["an offset beyond the last", { offset: Uint32Array.of(0, 2 ** 32 - 1, 4) }, "head 0 spans 0..4294967295 of 4"],
    ["a repeated position", { position_n: Uint32Array.of(1, 1, 0, 9) }, "position 1 after 1 at head 0"],
    ["positions that fall", { position_n: Uint32Array.of(1, 4, 9, 0) }, "position 0 after 9 at head 1"],
    ["a position beyond the context", { position_n: Uint32Array.of(1, 4, 0, 10) }, "position 10 after 0 at head 1"],
    ["keys of another size", { key_nD: new Float32Array(11) }, "found 11 keys and 12 values"],
    ["values of another size", { value_nD: new Float32Array(13) }, "found 12 keys and 13 values"],
  ])("refuses %s", (_what, changes, message) => {
    checkRagged(smallLayer(), sizes.seqLen);
    expect(() => checkRagged(smallLayer(changes), sizes.seqLen)).toThrow(message);
  });
});

describe("gatherRagged()", () => {
  test("copies key and value of each position of each head", () => {
    const dense = makeDenseLayer(createRng(5), sizes);
    const layer = gatherRagged(dense, Uint32Array.of(0, 1, 3), Uint32Array.of(9, 0, 9));
    const rowOf = (array: Float32Array, row: number): number[] => [...array.subarray(row * 3, row * 3 + 3)];
    for (const [i, denseRow] of [9, 10, 19].entries()) {
      expect(rowOf(layer.key_nD, i)).toEqual(rowOf(dense.key_KSD, denseRow));
      expect(rowOf(layer.value_nD, i)).toEqual(rowOf(dense.value_KSD, denseRow));
    }
  });

  test("refuses a position beyond the layer, which is another head's row", () => {
    const dense = makeDenseLayer(createRng(5), sizes);
    expect(() => gatherRagged(dense, Uint32Array.of(0, 1, 1), Uint32Array.of(10))).toThrow("Cannot gather position 10 of head 0");
  });
});

describe("rowLength()", () => {
  test("is the distance between offsets", () => {
    expect([0, 1].map((k) => rowLength(smallLayer({ offset: Uint32Array.of(0, 1, 4) }), k))).toEqual([1, 3]);
  });
});
