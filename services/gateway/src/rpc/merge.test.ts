import { collect, gate } from "@kvault/core/testing";
import { describe, expect, test } from "vitest";
import { merge } from "./merge.ts";

async function* from<T>(...items: T[]): AsyncGenerator<T> {
  yield* items;
}

describe("merge()", () => {
  test("gives everything of all sources, each source in its order", async () => {
    const all = await collect(merge([from("a1", "a2", "a3"), from("b1"), from<string>(), from("c1", "c2")]));
    expect([...all].sort()).toEqual(["a1", "a2", "a3", "b1", "c1", "c2"]);
    expect(all.filter((item) => item.startsWith("a"))).toEqual(["a1", "a2", "a3"]);
  });

  test("does not wait for a slow source to give a quick one's", async () => {
    const slow = gate();
    async function* late(): AsyncGenerator<string> {
      await slow.passed;
      yield "late";
    }
    const merged = merge([late(), from("now")]);
    expect((await merged.next()).value).toBe("now");
    slow.pass();
    expect(await collect(merged)).toEqual(["late"]);
  });

  test("pulls no more than one ahead of a reader", async () => {
    let pulled = 0;
    async function* endless(): AsyncGenerator<number> {
      while (true) yield ++pulled;
    }
    const merged = merge([endless()]);
    for (let i = 0; i < 10; i++) await merged.next();
    expect(pulled).toBeLessThanOrEqual(11);
    await merged.return(undefined);
  });

  test("ends with the first error and tells the others to return", async () => {
    const returned = gate();
    async function* other(): AsyncGenerator<string> {
      try {
        while (true) yield "x";
      } finally {
        returned.pass();
      }
    }
    async function* failing(): AsyncGenerator<string> {
      yield "once";
      throw new Error("boom");
    }
    await expect(collect(merge([other(), failing()]))).rejects.toThrow("boom");
    await returned.passed;
  });
});
