import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { DeltaBuffer } from "./delta-buffer.ts";
import type { QueryDelta } from "./types.ts";

const LIMITS = { unreadTokens: 4, stalledMs: 1_000 };
const delta = (text: string, ...tokenIds: number[]): QueryDelta => ({ type: "delta", text, tokenIds });

function buffer() {
  const givenUp: number[] = [];
  return { givenUp, deltas: new DeltaBuffer(LIMITS, (unreadTokens) => givenUp.push(unreadTokens)) };
}

describe("DeltaBuffer", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  test("gives a waiting reader each delta as it comes", async () => {
    const { deltas } = buffer();
    const reader = deltas.read();
    const first = reader.next();
    deltas.push(delta("a", 1));
    expect((await first).value).toEqual(delta("a", 1));
    const second = reader.next();
    deltas.push(delta("b", 2));
    expect((await second).value).toEqual(delta("b", 2));
    deltas.end();
    expect(await reader.next()).toEqual({ done: true, value: undefined });
  });

  test("joins what a slow reader left unread", async () => {
    const { deltas } = buffer();
    for (const [i, text] of ["x", "y", "z"].entries()) deltas.push(delta(text, i));
    expect((await deltas.read().next()).value).toEqual(delta("xyz", 0, 1, 2));
  });

  test("gives what waits before the error", async () => {
    const { deltas } = buffer();
    deltas.push(delta("last", 1));
    deltas.end({ error: new Error("died") });
    const reader = deltas.read();
    expect((await reader.next()).value).toEqual(delta("last", 1));
    await expect(reader.next()).rejects.toThrow("died");
  });

  test("gives up a reader that leaves too many tokens unread", () => {
    const { deltas, givenUp } = buffer();
    for (let i = 0; i < 5; i++) deltas.push(delta("t", i));
    expect(givenUp).toEqual([5]);
  });

  test("gives up a reader that takes nothing for too long while something waits", async () => {
    const { deltas, givenUp } = buffer();
    vi.advanceTimersByTime(10_000);
    expect(givenUp).toEqual([]);
    deltas.push(delta("t", 1));
    vi.advanceTimersByTime(999);
    expect(givenUp).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(givenUp).toEqual([1]);
  });

  test("a reader that takes what waits in time is kept", async () => {
    const { deltas, givenUp } = buffer();
    const reader = deltas.read();
    for (let i = 0; i < 10; i++) {
      deltas.push(delta("t", i));
      vi.advanceTimersByTime(900);
      await reader.next();
    }
    expect(givenUp).toEqual([]);
  });

  test("nobody is given up once the answer ended", () => {
    const { deltas, givenUp } = buffer();
    deltas.push(delta("t", 1));
    deltas.end();
    vi.advanceTimersByTime(10_000);
    expect(givenUp).toEqual([]);
  });
});
