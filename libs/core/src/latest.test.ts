import { describe, expect, test } from "vitest";
import { Latest } from "./latest.ts";

describe("Latest", () => {
  test("gives a reader that keeps up every value, in order, then ends", async () => {
    const latest = new Latest<number>();
    const reader = latest.read();
    const seen: number[] = [];
    for (const value of [1, 2, 3]) {
      latest.put(value);
      seen.push((await reader.next()).value as number);
    }
    latest.end();
    expect(seen).toEqual([1, 2, 3]);
    expect((await reader.next()).done).toBe(true);
  });

  test("gives a slow reader the newest value only", async () => {
    const latest = new Latest<number>();
    for (const value of [1, 2, 3]) latest.put(value);
    expect((await latest.read().next()).value).toBe(3);
  });

  test("end() leaves the last value to be read, and put() after it is ignored", async () => {
    const latest = new Latest<number>();
    latest.put(7);
    latest.end();
    latest.put(8);
    const reader = latest.read();
    expect(await reader.next()).toEqual({ value: 7, done: false });
    expect((await reader.next()).done).toBe(true);
  });

  test("wakes a waiting reader on put() and on end()", async () => {
    const latest = new Latest<number>();
    const reader = latest.read();
    const first = reader.next();
    latest.put(1);
    expect((await first).value).toBe(1);
    const second = reader.next();
    latest.end();
    expect((await second).done).toBe(true);
  });

  test("rejects a waiting reader when its signal aborts", async () => {
    const controller = new AbortController();
    const next = new Latest<number>().read(controller.signal).next();
    controller.abort();
    await expect(next).rejects.toMatchObject({ code: "CANCELLED" });
  });
});
