import { createRng } from "@kvault/core";
import { cosine, toBeAllclose } from "@kvault/core/testing";
import { expect, test } from "vitest";
import { redundancyOf } from "./r-kv.ts";

expect.extend({ toBeAllclose });

/** The whole matrix of cosines. */
function redundancyReference(keys: readonly (readonly number[])[]): number[] {
  const S = keys.length;
  const C = keys.map((a, i) => keys.map((b, j) => (i === j ? 0 : cosine(a, b))));
  for (const row of C) {
    const last = row.findLastIndex((c) => c > 0.5);
    if (last >= 0) row[last] = 0;
  }
  const exps = keys.map((_, j) => Math.exp(C.reduce((sum, row) => sum + row[j], 0) / S));
  const total = exps.reduce((a, b) => a + b);
  return exps.map((x) => x / total);
}

test("r-kv's redundancy of the worked example puts the penalty on older near-copies", () => {
  const keys = Float32Array.of(1, 0, 1, 0.1, 0, 1, 1, 0.05);
  expect(redundancyOf(keys, 2)).toBeAllclose([0.3285, 0.2623, 0.2071, 0.202], { rtol: 0, atol: 1e-4 });
});

test("r-kv's redundancy is that of the whole matrix of cosines", () => {
  const rng = createRng(8);
  for (const [S, D] of [
    [1, 2],
    [2, 3],
    [30, 2],
    [40, 16],
  ]) {
    const keys = Array.from({ length: S }, () => Array.from({ length: D }, () => Math.fround(2 * rng.next() - 0.7)));
    expect(redundancyOf(Float32Array.from(keys.flat()), D)).toBeAllclose(redundancyReference(keys), { rtol: 1e-6 });
  }
});
