import { describe, expect, test } from "vitest";
import { eachAtOnce } from "./each-at-once.ts";

describe("eachAtOnce()", () => {
  test("works on every item, never more than eight at a time", async () => {
    let running = 0;
    let most = 0;
    const done: number[] = [];
    await eachAtOnce(
      Array.from({ length: 30 }, (_, i) => i),
      async (item) => {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setImmediate(resolve));
        running--;
        done.push(item);
      },
    );
    expect(most).toBe(8);
    expect(done.sort((a, b) => a - b)).toEqual(Array.from({ length: 30 }, (_, i) => i));
  });

  test("throws the first failure once what runs has ended, and starts nothing new", async () => {
    const started: number[] = [];
    let ended = 0;
    const working = eachAtOnce(
      Array.from({ length: 30 }, (_, i) => i),
      async (item) => {
        started.push(item);
        await Promise.resolve();
        ended++;
        if (item === 2) throw new RangeError("third");
        if (item > 2) throw new RangeError("later");
      },
    );
    await expect(working).rejects.toThrow("third");
    expect(ended).toBe(started.length);
    expect(started.length).toBeLessThan(30);
  });

  test("waits for what runs when the items themselves fail", async () => {
    let ended = false;
    async function* items(): AsyncGenerator<number> {
      yield 1;
      throw new RangeError("no more");
    }
    const working = eachAtOnce(items(), async () => {
      for (let turns = 0; turns < 5; turns++) await Promise.resolve();
      ended = true;
    });
    await expect(working).rejects.toThrow("no more");
    expect(ended).toBe(true);
  });
});
