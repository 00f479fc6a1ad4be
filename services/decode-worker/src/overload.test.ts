import { createRng, isKvaultError } from "@kvault/core";
import { describe, expect, test } from "vitest";
import { QuerySlots } from "./query-slots.ts";

const READ_MS = 200;
const DECODE_MS = 2_000;
/** Questions are read one after the other; decoding shares runs and delays nobody. */
const CAPACITY_PER_SECOND = 1_000 / READ_MS;

interface Seen {
  readonly ttftMs: readonly number[];
  readonly refused: number;
}

/** Queries at `perSecond` for ten minutes of a virtual clock, the first two not counted. `slots` is told what they waited, unless it is not to learn. */
function simulate(perSecond: number, seed: number, learns = true): Seen {
  const rng = createRng(seed);
  let nowMs = 0;
  const slots = new QuerySlots(256, () => nowMs);
  const due: { readonly atMs: number; readonly act: () => void }[] = [];
  const at = (atMs: number, act: () => void): void => {
    const place = due.findIndex((other) => other.atMs > atMs);
    due.splice(place < 0 ? due.length : place, 0, { atMs, act });
  };
  const ttftMs: number[] = [];
  let refused = 0;
  let readerFreeMs = 0;
  const arrive = (): void => {
    at(nowMs + (-Math.log(1 - rng.next()) / perSecond) * 1_000, arrive);
    const counted = nowMs > 120_000;
    try {
      const slot = slots.take();
      const queueMs = Math.max(0, readerFreeMs - nowMs);
      readerFreeMs = nowMs + queueMs + READ_MS;
      if (counted) ttftMs.push(queueMs + READ_MS);
      at(readerFreeMs + DECODE_MS, () => {
        if (learns) slot.answered({ queueMs, loadMs: 0, ttftMs: queueMs + READ_MS });
        slot.release();
      });
    } catch (error) {
      if (!isKvaultError(error, "NO_CAPACITY")) throw error;
      if (counted) refused++;
    }
  };
  at(0, arrive);
  for (let next = due.shift(); next !== undefined && next.atMs < 600_000; next = due.shift()) {
    nowMs = next.atMs;
    next.act();
  }
  return { ttftMs: ttftMs.sort((a, b) => a - b), refused };
}

const p99 = ({ ttftMs }: Seen): number => ttftMs[Math.floor(0.99 * ttftMs.length)] ?? 0;

describe("a worker asked three times as often as it can answer", () => {
  test.each([1, 2, 3])("keeps the time to first token of what it takes, and goes on taking what it can (seed %d)", (seed) => {
    const unloaded = simulate(CAPACITY_PER_SECOND / 10, seed);
    expect(unloaded.refused).toBe(0);
    const over = simulate(CAPACITY_PER_SECOND * 3, seed);
    expect(p99(over)).toBeLessThanOrEqual(2 * p99(unloaded));
    expect(over.ttftMs.length / 480).toBeGreaterThan(0.7 * CAPACITY_PER_SECOND);
  });

  test("one that does not learn makes everybody wait", () => {
    expect(p99(simulate(CAPACITY_PER_SECOND * 3, 1, false))).toBeGreaterThan(20 * READ_MS);
  });
});
