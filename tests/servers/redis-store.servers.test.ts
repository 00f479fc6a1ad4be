import { randomUUID } from "node:crypto";
import type { ErrorCode } from "@kvault/core";
import { isKvaultError } from "@kvault/core";
import { type BlobStore, openMemoryStore, openStore, openTieredStore } from "@kvault/kvstore";
import { blobStoreConformance } from "@kvault/kvstore/testing";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { redisCommand, startRedis } from "./redis-server.ts";
import type { TestProcess } from "./test-process.ts";

const MIB = 1024 * 1024;

let redis: TestProcess;
let prefix = "";

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());

const urlOf = ({ port }: TestProcess, more = ""): string => `redis://127.0.0.1:${port}/0?prefix=${prefix}${more}`;
const freshPrefix = (): void => {
  prefix = `t-${randomUUID()}`;
};

blobStoreConformance("redis", {
  open: async () => {
    freshPrefix();
    return openStore(urlOf(redis));
  },
  openAgain: () => openStore(urlOf(redis)),
});

blobStoreConformance("redis behind tiers", {
  open: async () => {
    freshPrefix();
    return behindTiers(await openStore(urlOf(redis)));
  },
  openAgain: async () => behindTiers(await openStore(urlOf(redis))),
});

async function behindTiers(remote: BlobStore): Promise<BlobStore> {
  const tiers = [{ name: "memory", store: openMemoryStore(), capacityBytes: 64 * MIB, checkOnRead: false }];
  return openTieredStore({ tiers, remote });
}

async function refusal(promise: Promise<unknown>): Promise<ErrorCode | "none"> {
  return promise.then(
    () => "none" as const,
    (error: unknown) => {
      if (isKvaultError(error)) return error.code;
      throw error;
    },
  );
}

async function collect(store: BlobStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of store.list("")) keys.push(key);
  return keys;
}

const filled = (size: number, byte: number): Uint8Array => new Uint8Array(size).fill(byte);
/** Every byte is the first one and none is missing. */
const isWhole = (bytes: Uint8Array, size: number): boolean => bytes.length === size && bytes.every((byte) => byte === bytes[0]);

describe("a Redis store", () => {
  let store: BlobStore;
  beforeEach(async () => {
    freshPrefix();
    store = await openStore(urlOf(redis));
  });
  afterEach(() => store.close());

  test("shows readers whole values only, also of several chunks that are replaced while they read", async () => {
    const size = 20 * MIB + 3;
    await store.put("a.bin", filled(size, 0));
    let writing = true;
    const writer = (async () => {
      for (let i = 1; i <= 6; i++) await store.put("a.bin", filled(size, i));
      writing = false;
    })();
    let reads = 0;
    while (writing) {
      expect(isWhole(await store.get("a.bin"), size)).toBe(true);
      reads++;
    }
    await writer;
    expect(reads).toBeGreaterThan(0);
  });

  test("lists more keys than one reply holds, in order", async () => {
    const keys = Array.from({ length: 2_345 }, (_, i) => `p/${`${i}`.padStart(5, "0")}.bin`);
    await Promise.all(keys.map((key) => store.put(key, filled(1, 1))));
    expect(await collect(store)).toEqual(keys);
  });

  test("gives what a writer staged and never finished a time to live", async () => {
    const controller = new AbortController();
    const putting = store.put("a.bin", filled(60 * MIB, 1), { signal: controller.signal });
    const seen = (async () => {
      for (;;) {
        const [, staging] = (await redisCommand(redis.port, `KEYS ${prefix}:staging:*`)).split("\r\n$");
        if (staging !== undefined) return redisCommand(redis.port, `TTL ${staging.split("\r\n")[1]}`);
      }
    })();
    const ttl = await seen;
    controller.abort();
    expect(await refusal(putting)).toBe("CANCELLED");
    expect(Number(ttl.slice(1))).toBeGreaterThan(0);
    expect(await collect(store)).toEqual([]);
    expect(await store.stat("a.bin")).toBeUndefined();
  });
});

describe("openStore(redis:)", () => {
  beforeEach(freshPrefix);

  test("refuses a Redis that evicts, and says what to set", async () => {
    const evicting = await startRedis(["maxmemory 100mb", "maxmemory-policy allkeys-lru"]);
    try {
      const opening = openStore(urlOf(evicting));
      await expect(opening).rejects.toThrow('maxmemory-policy is "allkeys-lru"');
      expect(await refusal(opening)).toBe("INVALID_ARGUMENT");
    } finally {
      await evicting.remove();
    }
  });

  test("tells a refused login and a missing right from a server that is down", async () => {
    const guarded = await startRedis(["requirepass secret-word"]);
    try {
      expect(await refusal(openStore(urlOf(guarded)))).toBe("STORE_FORBIDDEN");
      const wrong = openStore(`redis://:wrong-word@127.0.0.1:${guarded.port}`);
      await expect(wrong).rejects.toThrow(expect.not.stringContaining("wrong-word"));
      expect(await refusal(wrong)).toBe("STORE_FORBIDDEN");
      const right = await openStore(`redis://:secret-word@127.0.0.1:${guarded.port}`);
      await right.put("a.bin", filled(1, 1));
      await right.close();
    } finally {
      await guarded.remove();
    }
    await redisCommand(redis.port, "ACL SETUSER reader on >pw ~* &* +@all -set -hset -eval -evalsha");
    const reader = await openStore(`redis://reader:pw@127.0.0.1:${redis.port}?prefix=acl`);
    expect(await refusal(reader.put("a.bin", filled(1, 1)))).toBe("STORE_FORBIDDEN");
    expect(await refusal(reader.get("a.bin"))).toBe("STORE_NOT_FOUND");
    await reader.close();
    const started = Date.now();
    expect(await refusal(openStore("redis://127.0.0.1:1"))).toBe("STORE_UNAVAILABLE");
    expect(Date.now() - started).toBeLessThan(5_000);
  });

  test.each([
    ["redis://127.0.0.1/db0", "is not a database number"],
    ["redis://127.0.0.1?prefix=a:b", "prefix is not"],
    ["redis://127.0.0.1?timeoutMs=0", '"timeoutMs" is "0"'],
    ["redis://127.0.0.1?ttl=9", 'unknown setting "ttl"'],
    ["redis://127.0.0.1:notaport", "cannot be parsed"],
  ])("refuses %s: %s", async (url, why) => {
    const opening = openStore(url);
    await expect(opening).rejects.toThrow(why);
    expect(await refusal(opening)).toBe("INVALID_ARGUMENT");
  });
});

describe("a Redis store in trouble", () => {
  let own: TestProcess;
  let store: BlobStore;
  beforeEach(async () => {
    freshPrefix();
    // What was acknowledged must be in the file: with everysec, Redis may hold back up to two seconds.
    own = await startRedis(["appendfsync always"]);
    store = await openStore(urlOf(own, "&timeoutMs=500"));
  });
  afterEach(async () => {
    await store.close();
    await own.remove();
  });

  test("is STORE_FULL when memory is, and keeps what it had", async () => {
    const patient = await openStore(urlOf(own));
    await patient.put("a.bin", filled(1_000, 7));
    await redisCommand(own.port, "CONFIG SET maxmemory 3mb");
    let code: string = "none";
    for (let i = 0; i < 4 && code === "none"; i++) code = await refusal(patient.put(`big/${i}.bin`, filled(2 * MIB, 1)));
    expect(code).toBe("STORE_FULL");
    expect(await refusal(patient.put("a.bin", filled(20 * MIB, 1)))).toBe("STORE_FULL");
    expect(isWhole(await patient.get("a.bin"), 1_000)).toBe(true);
    await patient.delete("big/0.bin");
    expect(await collect(patient)).toContain("a.bin");
    await patient.close();
  });

  test("answers within the deadline when the server is paused, heeds signals, and recovers", async () => {
    await store.put("a.bin", filled(10, 3));
    await own.pause();
    const started = Date.now();
    expect(await refusal(store.get("a.bin"))).toBe("STORE_UNAVAILABLE");
    expect(Date.now() - started).toBeLessThan(3_000);
    expect(await refusal(store.get("a.bin", { signal: AbortSignal.timeout(20) }))).toMatch(/DEADLINE_EXCEEDED|STORE_UNAVAILABLE/);
    own.resume();
    await expect.poll(() => refusal(store.get("a.bin")), { timeout: 10_000 }).toBe("none");
    await store.put("b.bin", filled(10, 4));
    expect(await collect(store)).toEqual(["a.bin", "b.bin"]);
  });

  test("fails fast while the server is gone, and finds all it had when it is back", async () => {
    await store.put("a.bin", filled(10, 3));
    const patient = await openStore(urlOf(own));
    await patient.put("b.bin", filled(9 * MIB, 4));
    await patient.close();
    await own.kill9();
    const started = Date.now();
    expect(await refusal(store.get("a.bin"))).toBe("STORE_UNAVAILABLE");
    expect(Date.now() - started).toBeLessThan(2_000);
    await own.start();
    await expect.poll(() => refusal(store.get("a.bin")), { timeout: 10_000 }).toBe("none");
    const again = await openStore(urlOf(own));
    expect(isWhole(await again.get("b.bin"), 9 * MIB)).toBe(true);
    expect(await collect(again)).toEqual(["a.bin", "b.bin"]);
    await again.close();
  });

  test("finds a server again that restarts in the middle of a call", async () => {
    await store.put("a.bin", filled(10, 3));
    await own.kill9();
    const getting = refusal(store.get("a.bin"));
    await own.start();
    expect(await getting).toMatch(/none|STORE_UNAVAILABLE/);
    await expect.poll(() => refusal(store.get("a.bin")), { timeout: 10_000 }).toBe("none");
  });

  test("holds the old value or the new, never a mix, when the server is killed within a put", async () => {
    const size = 20 * MIB;
    const patient = await openStore(urlOf(own));
    await patient.put("a.bin", filled(size, 1));
    for (let round = 0; round < 3; round++) {
      const putting = refusal(patient.put("a.bin", filled(size, 2 + round)));
      await new Promise((resolve) => setTimeout(resolve, 10 + 25 * round));
      await own.kill9();
      await putting;
      await own.start();
      const again = await openStore(urlOf(own));
      expect(isWhole(await again.get("a.bin"), size)).toBe(true);
      expect(await collect(again)).toEqual(["a.bin"]);
      await again.close();
      await expect.poll(() => refusal(patient.stat("a.bin")), { timeout: 10_000 }).toBe("none");
    }
    await patient.close();
  });
});
