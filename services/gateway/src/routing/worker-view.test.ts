import { describe, expect, test } from "vitest";
import { type WorkerSample, WorkerView } from "./worker-view.ts";

const SAMPLE: WorkerSample = {
  incarnation: "first",
  residentContextIds: ["there"],
  residentBytes: 100,
  residentLimitBytes: 1_000,
  runningQueries: 5,
  meanQueries: 4,
  maxQueries: 16,
  secondsPerQuery: 0.5,
  loadBytesPerSecond: 1e6,
  draining: false,
};

function view(sample: Partial<WorkerSample> = {}): WorkerView {
  const made = new WorkerView("w");
  made.observe({ ...SAMPLE, ...sample });
  return made;
}

describe("WorkerView", () => {
  test("tells what the worker published", () => {
    expect(view().candidate("there", 0, 1)).toEqual({
      name: "w",
      resident: true,
      inFlight: 5,
      maxInFlight: 16,
      load: 4,
      secondsPerQuery: 0.5,
      loadBytesPerSecond: 1e6,
      freeBytes: 900,
    });
    expect(view().candidate("elsewhere", 0, 0.75)).toMatchObject({ resident: false, maxInFlight: 12 });
    expect(new WorkerView("new").candidate("c", 0, 1)).toMatchObject({ resident: false, inFlight: 0, maxInFlight: 64 });
  });

  test("adds what was begun here since, and nothing twice", () => {
    const seen = view();
    const ends = [1, 2, 3].map(() => seen.begin("c", 0));
    expect(seen.candidate("c", 0, 1)).toMatchObject({ inFlight: 8, load: 7, resident: true });
    seen.observe({ ...SAMPLE, runningQueries: 8, meanQueries: 5 });
    expect(seen.candidate("c", 0, 1)).toMatchObject({ inFlight: 8, load: 5 });
    for (const end of ends) {
      end(true);
      end(true);
    }
    expect(seen.candidate("c", 0, 1)).toMatchObject({ inFlight: 5, load: 2 });
    expect(seen.own).toBe(0);
  });

  test("a query begun while the sample was on its way is counted", () => {
    const seen = view();
    const ownWhenAsked = seen.own;
    seen.begin("c", 0);
    seen.observe(SAMPLE, ownWhenAsked);
    expect(seen.candidate("c", 0, 1).inFlight).toBe(6);
  });

  test("expects a context where it was sent, for a while, unless that failed", () => {
    const seen = view();
    seen.begin("sent", 0)(true);
    expect(seen.candidate("sent", 4_999, 1).resident).toBe(true);
    expect(seen.candidate("sent", 5_000, 1).resident).toBe(false);
    seen.begin("failed", 0)(false);
    expect(seen.candidate("failed", 1, 1).resident).toBe(false);
    seen.expect("loaded", 0);
    seen.forget("loaded");
    expect(seen.candidate("loaded", 1, 1).resident).toBe(false);
  });

  test("marks go by time alone, longer for failures in a row, until an answer", () => {
    const seen = view();
    seen.mark(0);
    seen.observe(SAMPLE);
    expect([seen.isMarked(499), seen.isMarked(500)]).toEqual([true, false]);
    seen.mark(1_000);
    expect([seen.isMarked(1_999), seen.isMarked(2_000)]).toEqual([true, false]);
    for (let i = 0; i < 50; i++) seen.mark(10_000);
    expect([seen.isMarked(24_999), seen.isMarked(25_000)]).toEqual([true, false]);
    seen.begin("c", 0)(true);
    seen.mark(30_000);
    expect(seen.isMarked(30_500)).toBe(false);
  });

  test("one that refused for lack of room has none for a moment", () => {
    const seen = view();
    seen.markFull(0);
    expect(seen.candidate("c", 99, 1)).toMatchObject({ inFlight: 16, maxInFlight: 16 });
    expect(seen.candidate("c", 100, 1).inFlight).toBe(5);
  });

  test("a new incarnation starts over", () => {
    const seen = view();
    seen.expect("c", 0);
    seen.mark(0);
    seen.markFull(0);
    seen.observe({ ...SAMPLE, incarnation: "second", residentContextIds: [] });
    expect(seen.isMarked(1)).toBe(false);
    expect(seen.candidate("c", 1, 1)).toMatchObject({ resident: false, inFlight: 5 });
    expect(seen.candidate("there", 1, 1).resident).toBe(false);
  });

  test("what is expected is bounded", () => {
    const seen = view();
    for (let i = 0; i < 5_000; i++) seen.expect(`c${i}`, 0);
    expect(seen.candidate("c0", 1, 1).resident).toBe(false);
    expect(seen.candidate("c4999", 1, 1).resident).toBe(true);
  });
});
