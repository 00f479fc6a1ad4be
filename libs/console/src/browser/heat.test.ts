import { expect, test } from "vitest";
import { LEGEND, step } from "./heat.ts";

test("a share is in the step whose legend says so", () => {
  expect([0, 0.001, 0.125, 0.126, 0.5, 0.874, 0.9, 1, 1.2].map(step)).toEqual([0, 1, 1, 2, 4, 7, 8, 8, 8]);
  expect(LEGEND).toHaveLength(9);
});
