import { alignedView, createRng, decodeF16, type NamedTensor } from "@kvault/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { expectTensors } from "./expect-tensors.ts";
import { putQuantised, quantisedPlan, type RowLayout, type RowQuantiser, readQuantised } from "./quantised-rows.ts";

function encoded(source_nD: Float32Array, layout: RowLayout, quantiser: RowQuantiser): Map<string, NamedTensor> {
  const tensors = new Map<string, NamedTensor>();
  putQuantised(tensors, "k", source_nD, layout, quantiser);
  expectTensors(tensors, quantisedPlan("k", layout, quantiser));
  return tensors;
}

const halves = (tensors: ReadonlyMap<string, NamedTensor>, name: string): Float32Array =>
  decodeF16(alignedView(tensors.get(name)!.data, Uint16Array));

/** Group of element (row, d), the slow way: count the groups before it. */
function groupOf(row: number, d: number, { offset, headDim }: RowLayout, { along, group }: RowQuantiser): number {
  if (along === "channels") return row * Math.ceil(headDim / group) + Math.floor(d / group);
  let before = 0;
  for (let k = 0; ; k++) {
    if (row < offset[k + 1]) return (before + Math.floor((row - offset[k]) / group)) * headDim + d;
    before += Math.ceil((offset[k + 1] - offset[k]) / group);
  }
}

const quantisers: RowQuantiser[] = ([2, 3, 4, 8] as const).flatMap((bits) =>
  (["channels", "tokens"] as const).map((along) => ({ bits, along, group: 4 })),
);

describe.each(quantisers)("$bits bits along $along", (quantiser) => {
  const layout = { offset: Uint32Array.of(0, 5, 5, 14), headDim: 7 };
  const count = 14 * 7;
  const values = fc.array(fc.float({ min: -1000, max: 1000, noNaN: true }), { minLength: count, maxLength: count });

  test("is off by at most half the scale stored for the value's own group", () => {
    fc.assert(
      fc.property(values, fc.constantFrom(1, 1e-3, 0), (list, magnitude) => {
        const source_nD = Float32Array.from(list, (x) => x * magnitude);
        const tensors = encoded(source_nD, layout, quantiser);
        const scale = halves(tensors, "k.scale");
        const found_nD = readQuantised(tensors, "k", layout, quantiser);
        for (let i = 0; i < count; i++) {
          const step = scale[groupOf(Math.floor(i / 7), i % 7, layout, quantiser)];
          expect(Math.abs(found_nD[i] - source_nD[i])).toBeLessThanOrEqual(
            (step / 2) * (1 + 1e-9) + Math.abs(source_nD[i]) * 2 ** -23,
          );
        }
      }),
      { numRuns: 100 },
    );
  });

  test("gives groups of one value back", () => {
    for (const value of [0, 1.5, -3, 0.1, -1e4 / 3]) {
      const source_nD = new Float32Array(count).fill(value);
      const found_nD = readQuantised(encoded(source_nD, layout, quantiser), "k", layout, quantiser);
      const exact = value === 0 || value === 1.5 || value === -3;
      for (const x of found_nD)
        expect(Math.abs(x - Math.fround(value))).toBeLessThanOrEqual(exact ? 0 : Math.abs(value) * 2 ** -13);
    }
  });

  test("refuses what halves cannot enclose", () => {
    for (const value of [7e4, -7e4, 3e38]) {
      const source_nD = new Float32Array(count).fill(value, 3, 4);
      const refused = (): unknown => encoded(source_nD, layout, quantiser);
      if (Math.abs(value) > 2 ** quantiser.bits * 65504 || value < 0) {
        expect(refused).toThrow(expect.objectContaining({ code: "SPEC_INVALID" }));
      } else {
        expect([...readQuantised(refused() as Map<string, NamedTensor>, "k", layout, quantiser)].every(Number.isFinite)).toBe(
          true,
        );
      }
    }
  });
});

test("codes round half to even", () => {
  const quantiser = { bits: 4, along: "channels", group: 8 } as const;
  const tensors = encoded(Float32Array.of(0, 0.5, 1.5, 2.5, 15), { offset: Uint32Array.of(0, 1), headDim: 5 }, quantiser);
  expect([...tensors.get("k")!.data]).toEqual([0x00, 0x22, 0x0f]);
});

test("an outlier channel costs the others nothing along tokens, and much along channels", () => {
  const rng = createRng(5);
  const source_nD = Float32Array.from({ length: 64 * 8 }, (_, i) => (i % 8 === 3 ? 100 : 0) + rng.next());
  const layout = { offset: Uint32Array.of(0, 64), headDim: 8 };
  const worst = (along: RowQuantiser["along"]): number => {
    const quantiser = { bits: 4, along, group: 64 } as const;
    const found_nD = readQuantised(encoded(source_nD, layout, quantiser), "k", layout, quantiser);
    return Math.max(...found_nD.map((x, i) => (i % 8 === 3 ? 0 : Math.abs(x - source_nD[i]))));
  };
  expect(worst("tokens")).toBeLessThan(0.04);
  expect(worst("channels")).toBeGreaterThan(0.5);
});
