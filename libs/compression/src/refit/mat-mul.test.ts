import { expect, test } from "vitest";
import { plainMatMul } from "./mat-mul.ts";

const a_23 = Float32Array.of(1, 2, 3, 4, 5, 6);
const b_32 = Float32Array.of(1, -1, 0, 2, 3, 0.5);

test("times() multiplies rows by columns", async () => {
  expect([...(await plainMatMul.times(a_23, b_32, 2, 3, 2))]).toEqual([10, 4.5, 22, 9]);
});

test("transposedTimes() is times() of the transposed", async () => {
  const transposed_32 = Float32Array.of(1, 4, 2, 5, 3, 6);
  expect(await plainMatMul.transposedTimes(transposed_32, b_32, 3, 2, 2)).toEqual(await plainMatMul.times(a_23, b_32, 2, 3, 2));
});

test("timesTransposed() is times() by the transposed", async () => {
  const transposed_23 = Float32Array.of(1, 0, 3, -1, 2, 0.5);
  expect(await plainMatMul.timesTransposed(a_23, transposed_23, 2, 2, 3)).toEqual(await plainMatMul.times(a_23, b_32, 2, 3, 2));
});
