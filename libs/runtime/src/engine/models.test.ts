import { describe, expect, test } from "vitest";
import { createToyRunner } from "../testing/toy-runner.ts";
import { ModelCache, type OpenModel } from "./models.ts";

function cacheOf(maxModels: number, open: OpenModel = async () => createToyRunner()) {
  const opened: string[] = [];
  const closed: string[] = [];
  const models = new ModelCache(async (model, options) => {
    opened.push(model);
    const runner = await open(model, options);
    return { ...runner, close: async () => void closed.push(model) };
  }, maxModels);
  return { models, opened, closed };
}

describe("ModelCache", () => {
  test("opens a model once, however many ask at the same time", async () => {
    const { models, opened } = cacheOf(2);
    const leases = await Promise.all([models.acquire("a"), models.acquire("a"), models.acquire("a")]);
    expect(new Set(leases.map(({ runner }) => runner)).size).toBe(1);
    expect(opened).toEqual(["a"]);
  });

  test("closes the least recently used idle model to make room", async () => {
    const { models, closed } = cacheOf(2);
    (await models.acquire("a")).release();
    (await models.acquire("b")).release();
    (await models.acquire("a")).release();
    await models.acquire("c");
    expect(closed).toEqual(["b"]);
    expect(models.names).toEqual(["a", "c"]);
  });

  test("refuses one too many as retryable while all are in use, and never closes one in use", async () => {
    const { models, closed } = cacheOf(1);
    const lease = await models.acquire("a");
    await expect(models.acquire("b")).rejects.toMatchObject({ code: "NO_CAPACITY", retryable: true });
    expect(closed).toEqual([]);
    lease.release();
    lease.release();
    await models.acquire("b");
    expect(closed).toEqual(["a"]);
  });

  test("tries again after a failure", async () => {
    let fail = true;
    const { models } = cacheOf(1, async () => {
      if (fail) throw new Error("no network");
      return createToyRunner();
    });
    await expect(models.acquire("a")).rejects.toThrow("no network");
    fail = false;
    expect((await models.acquire("a")).runner).toBeDefined();
  });

  test("close() closes every model, also one that is still being opened", async () => {
    let finish: () => void = () => undefined;
    const { models, closed } = cacheOf(2, async (model) => {
      if (model === "slow") {
        await new Promise<void>((resolve) => {
          finish = resolve;
        });
      }
      return createToyRunner();
    });
    await models.acquire("a");
    const slow = models.acquire("slow");
    await models.close();
    finish();
    await expect(slow).rejects.toMatchObject({ code: "CLOSED" });
    expect(closed.sort()).toEqual(["a", "slow"]);
    await expect(models.acquire("b")).rejects.toMatchObject({ code: "CLOSED" });
  });
});
