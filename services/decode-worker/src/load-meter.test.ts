import { describe, expect, test } from "vitest";
import { LoadMeter } from "./load-meter.ts";

function meter() {
  let nowMs = 0;
  const load = new LoadMeter(() => nowMs);
  return {
    load,
    pass: (ms: number) => {
      nowMs += ms;
    },
  };
}

describe("LoadMeter", () => {
  test("knows nothing at first", () => {
    const { load } = meter();
    expect([load.meanQueries, load.secondsPerQuery, load.loadBytesPerSecond]).toEqual([0, 0, 0]);
  });

  test("the mean follows lasting load and forgets a burst", () => {
    const { load, pass } = meter();
    const burst = Array.from({ length: 20 }, () => load.begin());
    pass(50);
    for (const end of burst) end();
    expect(load.meanQueries).toBeLessThan(0.3);
    load.begin();
    load.begin();
    pass(60_000);
    expect(load.meanQueries).toBeCloseTo(2, 3);
  });

  test("queries that run together cost less each", () => {
    const alone = meter();
    for (let i = 0; i < 100; i++) {
      const end = alone.load.begin();
      alone.pass(400);
      end();
      alone.pass(100);
    }
    expect(alone.load.secondsPerQuery).toBeCloseTo(0.4, 2);
    const together = meter();
    for (let i = 0; i < 100; i++) {
      const ends = [1, 2, 3, 4].map(() => together.load.begin());
      together.pass(600);
      for (const end of ends) end();
    }
    expect(together.load.secondsPerQuery).toBeCloseTo(0.15, 2);
  });

  test("smooths the speed of loads; one of nothing tells nothing", () => {
    const { load } = meter();
    load.loaded(2_000_000, 10);
    expect(load.loadBytesPerSecond).toBe(200e6);
    load.loaded(0, 10);
    load.loaded(1_000_000, 10);
    expect(load.loadBytesPerSecond).toBe(170e6);
  });
});
