import { createRng } from "@kvault/core";
import { expect, test } from "vitest";
import { groupContexts } from "./context-models.ts";

/** Bits of every context in its group's model. */
function bits(count: readonly Uint32Array[], group: Uint8Array, summed: readonly Uint32Array[]): number {
  let sum = 0;
  for (const [c, counts] of count.entries()) {
    const model = summed[group[c]];
    const total = model.reduce((a, b) => a + b);
    counts.forEach((n, s) => {
      if (n > 0) sum -= n * Math.log2(model[s] / total);
    });
  }
  return sum;
}

test("contexts of two kinds come apart", () => {
  const kinds = [Uint32Array.of(90, 5, 5, 0), Uint32Array.of(0, 30, 40, 30)];
  const count = Array.from({ length: 20 }, (_, c) => kinds[c % 3 === 0 ? 0 : 1]);
  const { group, summed } = groupContexts(count, 2);
  for (let c = 0; c < 20; c++) expect(group[c] === group[0]).toBe(c % 3 === 0);
  expect(summed[group[0]]).toEqual(Uint32Array.of(7 * 90, 35, 35, 0));
});

test("more groups take fewer bits, and no group is empty", () => {
  const rng = createRng(3);
  const count = Array.from({ length: 64 }, () => {
    const centre = rng.next() * 15;
    const width = 1 + rng.next() * 4;
    return Uint32Array.from({ length: 16 }, (_, s) => Math.round(400 * Math.exp(-(((s - centre) / width) ** 2))));
  });
  const [one, four, sixteen] = [1, 4, 16].map((numGroups) => groupContexts(count, numGroups));
  expect(bits(count, four.group, four.summed)).toBeLessThan(0.95 * bits(count, one.group, one.summed));
  expect(bits(count, sixteen.group, sixteen.summed)).toBeLessThan(bits(count, four.group, four.summed));
  for (const { group, summed } of [one, four, sixteen]) {
    expect(new Set(group).size).toBe(summed.length);
    for (const counts of summed) expect(Math.max(...counts)).toBeGreaterThan(0);
  }
});

test("a column of no rows is in some group", () => {
  const { group, summed } = groupContexts([new Uint32Array(4), Uint32Array.of(0, 9, 1, 0), new Uint32Array(4)], 2);
  for (const g of group) expect(g).toBeLessThan(summed.length);
});
