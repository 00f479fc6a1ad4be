import { createRng } from "@kvault/core";
import { toBeAllclose } from "@kvault/core/testing";
import { expect, test } from "vitest";
import { turnRows } from "./rotation.ts";

expect.extend({ toBeAllclose });

/** One row, every angle by itself. */
function turnReference(row: ArrayLike<number>, position: number, frequencies: ArrayLike<number>, direction: 1 | -1): number[] {
  const half = row.length >> 1;
  const out = Array.from(row);
  for (let i = 0; i < half; i++) {
    const angle = direction * position * frequencies[i];
    out[i] = row[i] * Math.cos(angle) - row[i + half] * Math.sin(angle);
    out[i + half] = row[i + half] * Math.cos(angle) + row[i] * Math.sin(angle);
  }
  return out;
}

const frequenciesOf = (D: number): Float64Array => Float64Array.from({ length: D >> 1 }, (_, i) => 1e6 ** ((-2 * i) / D));

test.each([1, 2, 7, 64])("turnRows() turns rows of %i as one angle at a time does, up to a million positions", (D) => {
  const rng = createRng(D);
  const position_n = Uint32Array.of(0, 1, 255, 256, 257, 4095, 131_071, 1_000_003);
  const row_nD = Float32Array.from({ length: position_n.length * D }, () => 2 * rng.next() - 1);
  for (const direction of [1, -1] as const) {
    const out_nD = new Float32Array(row_nD.length);
    turnRows(row_nD, position_n, D, frequenciesOf(D), direction, out_nD);
    for (const [n, position] of position_n.entries()) {
      const expected = turnReference(row_nD.subarray(n * D, (n + 1) * D), position, frequenciesOf(D), direction);
      expect(out_nD.subarray(n * D, (n + 1) * D)).toBeAllclose(expected, { rtol: 0, atol: 1e-7 });
    }
  }
});

test("turnRows() forth undoes turnRows() back, in place", () => {
  const rng = createRng(1);
  const row_nD = Float32Array.from({ length: 5 * 8 }, () => 2 * rng.next() - 1);
  const turned_nD = Float32Array.from(row_nD);
  const position_n = Uint32Array.of(3, 77, 78, 5000, 90_000);
  turnRows(turned_nD, position_n, 8, frequenciesOf(8), -1, turned_nD);
  expect(turned_nD).not.toBeAllclose(row_nD, { atol: 0.1 });
  turnRows(turned_nD, position_n, 8, frequenciesOf(8), 1, turned_nD);
  expect(turned_nD).toBeAllclose(row_nD, { rtol: 0, atol: 3e-7 });
});

test("turnRows() refuses frequencies of another head size", () => {
  const refused = (): void => turnRows(new Float32Array(8), Uint32Array.of(1), 8, new Float64Array(3), 1, new Float32Array(8));
  expect(refused).toThrow(RangeError);
});
