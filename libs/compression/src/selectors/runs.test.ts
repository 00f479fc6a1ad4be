import fc from "fast-check";
import { expect, test } from "vitest";
import { selectRuns } from "./runs.ts";

const score_S = Float32Array.of(9, 9, 0, 4, 1, 1, 5, 0, 3, 3);

test("selectRuns() takes whole runs by mean score and of the one that does not fit the best", () => {
  // Protected 0; runs [1 2] [3 4] [5 6] [7 8] [9] of means 4.5, 2.5, 3, 1.5, 3.
  expect([...selectRuns(score_S, 1, 2, 2, 1)]).toEqual([0, 1, 2]);
  expect([...selectRuns(score_S, 1, 4, 2, 1)]).toEqual([0, 1, 2, 5, 6]);
  expect([...selectRuns(score_S, 1, 6, 2, 1)]).toEqual([0, 1, 2, 3, 5, 6, 9]);
});

test("selectRuns() aligned to the start of the sequence begins with what the prefix leaves of a run", () => {
  // Runs [1] [2 3] [4 5] [6 7] [8 9] of means 9, 2, 1, 2.5, 3.
  expect([...selectRuns(score_S, 1, 5, 2, 0)]).toEqual([0, 1, 6, 7, 8, 9]);
});

test("selectRuns() breaks at most one run", () => {
  const scores = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(scores, fc.nat(), fc.nat(), fc.integer({ min: 1, max: 7 }), (list, p, b, size) => {
      const protectedTokens = p % (list.length + 1);
      const budget = b % (list.length - protectedTokens + 1);
      const taken = new Set(selectRuns(Float32Array.from(list), protectedTokens, budget, size, 0));
      const runs = new Map<number, number[]>();
      for (let s = protectedTokens; s < list.length; s++) {
        runs.set(Math.floor(s / size), [...(runs.get(Math.floor(s / size)) ?? []), s]);
      }
      const broken = [...runs.values()].filter((run) => new Set(run.map((s) => taken.has(s))).size === 2);
      expect(broken.length).toBeLessThanOrEqual(1);
    }),
    { numRuns: 200 },
  );
});
