import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { countGroups, fromGrid, toGrid } from "./grid-rows.ts";
import type { RowLayout, RowQuantiser } from "./quantised-rows.ts";

/** Each value's group, found the slow way. */
function groupOf(i: number, { offset, headDim: D }: RowLayout, { along, group }: RowQuantiser): string {
  const row = Math.floor(i / D);
  const head = offset.findLastIndex((start, k) => k + 1 < offset.length && start <= row);
  const inHead = row - offset[head];
  return along === "channels" ? `${row}/${Math.floor((i % D) / group)}` : `${head}/${Math.floor(inHead / group)}/${i % D}`;
}

const rowsOf = fc
  .record({
    counts: fc.array(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 3 }),
    headDim: fc.integer({ min: 1, max: 9 }),
    along: fc.constantFrom("channels" as const, "tokens" as const),
    bits: fc.constantFrom(2 as const, 3 as const, 4 as const, 8 as const),
    magnitude: fc.constantFrom(1e-40, 1e-6, 1, 1e4, 1e36),
    offsetBy: fc.constantFrom(0, 1, 1000),
  })
  .chain(({ counts, headDim, along, bits, magnitude, offsetBy }) => {
    const offset = Uint32Array.from([0, ...counts]);
    for (let k = 0; k < counts.length; k++) offset[k + 1] += offset[k];
    const length = offset[counts.length] * headDim;
    return fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: length, maxLength: length }).map((unit) => ({
      layout: { offset, headDim },
      quantiser: { bits, along, group: 8 } as RowQuantiser,
      source_nD: Float32Array.from(unit, (x) => (x + offsetBy) * (offsetBy > 1 ? Math.min(magnitude, 1e30) : magnitude)),
    }));
  });

describe("toGrid() and fromGrid()", () => {
  test("no value is off by more than half of the least step of sixteenths that its group needs", () => {
    fc.assert(
      fc.property(rowsOf, ({ layout, quantiser, source_nD }) => {
        const rows = toGrid(source_nD, layout, quantiser);
        const decoded = fromGrid(rows, layout, quantiser);
        const bounds = new Map<string, { min: number; max: number }>();
        source_nD.forEach((x, i) => {
          const { min, max } = bounds.get(groupOf(i, layout, quantiser)) ?? { min: x, max: x };
          bounds.set(groupOf(i, layout, quantiser), { min: Math.min(min, x), max: Math.max(max, x) });
        });
        expect(rows.step).toHaveLength(countGroups(layout, quantiser));
        source_nD.forEach((x, i) => {
          const { min, max } = bounds.get(groupOf(i, layout, quantiser))!;
          const magnitude = Math.max(Math.abs(min), Math.abs(max));
          const needed = Math.max((max - min) / (2 ** quantiser.bits - 1), magnitude / 2 ** 15, rows.base * 2 ** (-255 / 16));
          expect(rows.code_nD[i]).toBeLessThan(2 ** quantiser.bits);
          expect(Math.abs(decoded[i] - x)).toBeLessThanOrEqual(
            0.5 * needed * 2 ** (1 / 16) * (1 + 1e-6) + magnitude * 2 ** -23 + 2 ** -149,
          );
        });
      }),
      { numRuns: 300 },
    );
  });

  test("zeros come back as zeros, a lone value to a part in 65,536", () => {
    const layout = { offset: Uint32Array.of(0, 3), headDim: 1 };
    const quantiser: RowQuantiser = { bits: 4, along: "channels", group: 8 };
    const decoded = fromGrid(toGrid(Float32Array.of(0, 3.7, -1000), layout, quantiser), layout, quantiser);
    expect(decoded[0]).toBe(0);
    expect(Math.abs(decoded[1] - 3.7)).toBeLessThan(3.7 / 2 ** 15);
    expect(Math.abs(decoded[2] + 1000)).toBeLessThan(1000 / 2 ** 15);
  });

  test("a channel that drifts gives small differences", () => {
    const layout = { offset: Uint32Array.of(0, 64), headDim: 1 };
    const quantiser: RowQuantiser = { bits: 4, along: "tokens", group: 16 };
    const source = Float32Array.from({ length: 64 }, (_, n) => 50 + Math.sin(n) + n / 64);
    const { step, zero } = toGrid(source, layout, quantiser);
    expect(Math.max(...step.subarray(1), ...zero.subarray(1))).toBeLessThan(32);
  });

  test("a base, a step and a zero that cannot be are refused", () => {
    const layout = { offset: Uint32Array.of(0, 1), headDim: 1 };
    const quantiser: RowQuantiser = { bits: 4, along: "channels", group: 8 };
    const rows = { code_nD: Uint8Array.of(1), step: Uint32Array.of(0), zero: Uint32Array.of(0), base: 1 };
    expect(fromGrid(rows, layout, quantiser)).toEqual(Float32Array.of(1));
    for (const wrong of [
      { base: Number.NaN },
      { base: -1 },
      { base: Number.POSITIVE_INFINITY },
      { step: Uint32Array.of(1) },
      { step: Uint32Array.of(2 * 256) },
      { zero: Uint32Array.of(2 ** 17 + 2) },
      { base: 3e38, zero: Uint32Array.of(10) },
    ]) {
      expect(() => fromGrid({ ...rows, ...wrong }, layout, quantiser)).toThrow(
        expect.objectContaining({ code: "CACHE_CORRUPT" }),
      );
    }
  });
});
