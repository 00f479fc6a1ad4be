import { randomUUID } from "node:crypto";
import { openLeases, openRegistry } from "@kvault/cluster";
import { leasesConformance, registryConformance } from "@kvault/cluster/testing";
import { isKvaultError } from "@kvault/core";
import { ACTIVE, catalogueConformance, openCatalogue, recordOf } from "@kvault/gateway/testing";
import { openMemoryStore } from "@kvault/kvstore";
import { publishSample } from "@kvault/kvstore/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { redisCommand, startRedis } from "./redis-server.ts";
import type { TestProcess } from "./test-process.ts";

let redis: TestProcess;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());

const urlOf = (prefix: string = randomUUID(), more = ""): string => `redis://127.0.0.1:${redis.port}/2?prefix=${prefix}${more}`;

describe("leases in Redis", () => {
  const open = async () => {
    const url = urlOf();
    return [openLeases(url), openLeases(url)] as const;
  };
  test.each(leasesConformance(open))("$name", ({ run }) => run());

  test("a holder that was away for longer than its lease has lost it", async () => {
    const leases = openLeases(urlOf(undefined, "&timeoutMs=200"));
    const lease = await leases.acquire("a", { ttlMs: 600 });
    await redis.pause();
    await expect(lease?.check()).rejects.toSatisfy((error) => isKvaultError(error, "UNREACHABLE"));
    await new Promise((resolve) => lease?.lost.addEventListener("abort", resolve, { once: true }));
    redis.resume();
    await expect(lease?.check()).rejects.toSatisfy((error) => isKvaultError(error, "ENGINE_DIED"));
    await leases.close();
  });
});

describe("a registry in Redis", () => {
  test.each(
    registryConformance(async (options) => {
      const url = urlOf();
      return [openRegistry(url, options), openRegistry(url, options)];
    }),
  )("$name", ({ run }) => run());
});

describe("a catalogue in Redis", () => {
  test.each(catalogueConformance(async () => openCatalogue(urlOf())))("$name", ({ run }) => run());

  test("two gateways create once between them, and see each other's changes as they come", async () => {
    const url = urlOf();
    const [here, there] = [openCatalogue(url), openCatalogue(url)];
    const begun = await Promise.all(
      Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? here : there).begin(recordOf(1, { buildId: `b${i}` }))),
    );
    expect(begun.filter(({ created }) => created)).toHaveLength(1);
    const record = begun[0]?.record ?? recordOf(1);
    const watch = there.watch(record.id)[Symbol.asyncIterator]();
    expect((await watch.next()).value?.state.type).toBe("creating");
    const startedMs = performance.now();
    await here.change(record, ACTIVE);
    expect((await watch.next()).value?.state.type).toBe("active");
    // Sooner than anybody looks without having been told.
    expect(performance.now() - startedMs).toBeLessThan(1_500);
    await here.remove(record);
    expect((await watch.next()).done).toBe(true);
    await Promise.all([here.close(), there.close()]);
  });

  test("a context that became ACTIVE while the due ones were looked for is not due", async () => {
    const url = urlOf().replace("/2?", "/0?");
    const catalogue = openCatalogue(url);
    const record = recordOf(1);
    await catalogue.begin(record);
    await catalogue.change(record, ACTIVE);
    // As it stood a moment ago.
    await redisCommand(redis.port, `ZADD ${new URL(url).searchParams.get("prefix")}:contexts:due 0 ${record.id}`);
    expect(await catalogue.due(Date.now())).toEqual([]);
    await catalogue.close();
  });

  test("a row that is damaged is mended from the store, and one that has no record there goes", async () => {
    // The database that a bare connection is in.
    const url = urlOf().replace("/2?", "/0?");
    const store = openMemoryStore();
    const { contextId } = await publishSample(store, "a text");
    const catalogue = openCatalogue(url, store);
    const kept = recordOf(1, { id: contextId });
    const other = recordOf(2);
    for (const record of [kept, other]) {
      await catalogue.begin(record);
      await catalogue.change(record, ACTIVE);
    }
    await catalogue.markWhole();
    const rows = `${new URL(url).searchParams.get("prefix")}:contexts:rows`;
    const damage = async (id: string): Promise<void> => {
      expect(await redisCommand(redis.port, `HSET ${rows} ${id} "no row"`)).toBe(":0\r\n");
    };
    const ids = async (): Promise<string[]> => (await catalogue.list({ limit: 10 })).map(({ id }) => id);

    await damage(contextId);
    expect((await catalogue.get(contextId))?.state.type).toBe("active");
    await damage(contextId);
    expect((await ids()).sort()).toEqual([contextId, other.id].sort());
    await damage(other.id);
    expect(await ids()).toEqual([contextId]);
    expect(await catalogue.get(other.id)).toBeUndefined();
    expect(await catalogue.isWhole()).toBe(false);
    expect((await catalogue.begin(other)).created).toBe(true);
    // By tenant nothing of the row that went is left either.
    expect((await catalogue.list({ limit: 10, tenant: other.tenant })).map(({ id }) => id)).toContain(other.id);
    await catalogue.close();
    await store.close();
  });

  test("states survive the gateway and the death of Redis; a lost catalogue says that it is not whole", async () => {
    const url = urlOf();
    const before = openCatalogue(url);
    const record = recordOf(1);
    await before.begin(record);
    await before.change(record, ACTIVE);
    await before.markWhole();
    // What the append-only file has been told to keep, it keeps from then on.
    await redisCommand(redis.port, "CONFIG SET appendfsync always");
    await before.get(record.id);
    await redis.kill9();
    expect((await before.get(record.id))?.state.type).toBe("active");
    await redis.start();
    const after = openCatalogue(url);
    expect((await after.get(record.id))?.state.type).toBe("active");
    expect(await after.isWhole()).toBe(true);
    await redisCommand(redis.port, "FLUSHALL");
    expect(await after.isWhole()).toBe(false);
    await Promise.all([before.close(), after.close()]);
  });
});
