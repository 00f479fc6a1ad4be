import { expect, test } from "vitest";
import { PhaseClock } from "./phase-clock.ts";

test("PhaseClock splits time into phases that add up, however often each is entered", () => {
  let nowMs = 1_000;
  const clock = new PhaseClock<"a" | "b" | "c">("a", () => nowMs);
  nowMs += 10;
  clock.enter("b");
  nowMs += 200;
  clock.enter("a");
  nowMs += 5;
  expect([clock.seconds("a"), clock.seconds("b"), clock.seconds("c")]).toEqual([0.015, 0.2, 0]);
  nowMs += 5;
  expect(clock.seconds("a")).toBe(0.02);
});
