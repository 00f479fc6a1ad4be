import { randomUUID } from "node:crypto";
import { isKvaultError, type KvaultError } from "@kvault/core";
import { type BlobStore, openMemoryStore, openStore, openTieredStore } from "@kvault/kvstore";
import { blobStoreConformance } from "@kvault/kvstore/testing";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type FaultProxy, startFaultProxy } from "./fault-proxy.ts";
import { s3Url, startS3 } from "./s3-server.ts";
import type { TestProcess } from "./test-process.ts";

const MIB = 1024 * 1024;

let s3: TestProcess;
let prefix = "";

beforeAll(async () => {
  s3 = await startS3();
});
afterAll(() => s3.remove());

blobStoreConformance("s3", {
  open: async () => {
    prefix = `t-${randomUUID()}`;
    return openStore(s3Url(s3.port, prefix));
  },
  openAgain: () => openStore(s3Url(s3.port, prefix)),
});

const behindTiers = async (remote: BlobStore): Promise<BlobStore> =>
  openTieredStore({
    tiers: [{ name: "memory", store: openMemoryStore(), capacityBytes: 64 * MIB, checkOnRead: false }],
    remote,
  });

blobStoreConformance("s3 behind tiers", {
  open: async () => {
    prefix = `t-${randomUUID()}`;
    return behindTiers(await openStore(s3Url(s3.port, prefix)));
  },
  openAgain: async () => behindTiers(await openStore(s3Url(s3.port, prefix))),
});

async function failure(promise: Promise<unknown>): Promise<KvaultError> {
  const error = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (isKvaultError(error)) return error;
  throw new Error(`expected a typed refusal, found ${String(error)}`);
}

/** Bytes in which no block repeats. */
function noise(size: number): Uint8Array {
  const words = Uint32Array.from({ length: Math.ceil(size / 4) }, (_, i) => Math.imul(i + 1, 0x9e3779b1));
  return new Uint8Array(words.buffer, 0, size);
}

describe("an S3 store over a broken wire", () => {
  let proxy: FaultProxy;
  let store: BlobStore;
  const value = noise(100_000);

  beforeEach(async () => {
    proxy = await startFaultProxy(s3.port);
    store = await openStore(s3Url(proxy.port, `w-${randomUUID()}`, { timeoutMs: "800" }));
    await store.put("a.bin", value);
  });
  afterEach(async () => {
    await store.close();
    await proxy.close();
  });

  test.each([
    { effect: "status", status: 500, code: "InternalError" },
    { effect: "status", status: 503, code: "SlowDown" },
    { effect: "truncate" },
    { effect: "wrong-length" },
    { effect: "lose-answer" },
    { effect: "hang" },
  ] as const)("tries again after one %o, and gives the right bytes", async (fault) => {
    proxy.plan({ ...fault, method: "GET", times: 1 });
    expect(Buffer.compare(await store.get("a.bin"), value)).toBe(0);
    expect(proxy.numRequests).toBe(2);
  });

  test("waits for a slow answer within the deadline", async () => {
    proxy.plan({ effect: "slow", ms: 150 });
    expect(Buffer.compare(await store.get("a.bin"), value)).toBe(0);
    expect(proxy.numRequests).toBe(1);
  });

  test.each([
    [{ effect: "status", status: 500, code: "InternalError" }, "STORE_UNAVAILABLE", true],
    [{ effect: "status", status: 503, code: "SlowDown" }, "STORE_UNAVAILABLE", true],
    [{ effect: "status", status: 403, code: "AccessDenied" }, "STORE_FORBIDDEN", false],
    [{ effect: "status", status: 404, code: "NoSuchKey" }, "STORE_NOT_FOUND", false],
    [{ effect: "status", status: 404, code: "NoSuchBucket" }, "STORE_UNAVAILABLE", false],
    [{ effect: "status", status: 507, code: "InsufficientStorage" }, "STORE_FULL", false],
    [{ effect: "truncate" }, "STORE_UNAVAILABLE", true],
    [{ effect: "wrong-length" }, "CACHE_CORRUPT", false],
    [{ effect: "slow", ms: 4_000 }, "STORE_UNAVAILABLE", true],
  ] as const)("when every answer is %o, get() is %s (retryable: %s)", async (fault, code, retryable) => {
    proxy.plan(fault);
    const error = await failure(store.get("a.bin"));
    expect([error.code, error.retryable]).toEqual([code, retryable]);
    expect(error.message).toMatch(/^Cannot get ".*a\.bin": ./);
    expect(proxy.numRequests).toBeLessThanOrEqual(4);
  });

  test("never takes a failing stat for a missing value", async () => {
    proxy.plan({ effect: "status", status: 403, code: "AccessDenied" });
    expect((await failure(store.stat("a.bin"))).code).toBe("STORE_FORBIDDEN");
    proxy.plan({ effect: "status", status: 404, code: "NoSuchBucket" });
    expect((await failure(store.stat("a.bin"))).code).toBe("STORE_UNAVAILABLE");
  });

  test("a conditional put whose answer was lost has won, and says so", async () => {
    proxy.plan({ effect: "lose-answer", method: "PUT", times: 1 });
    await store.put("once.bin", value, { ifAbsent: true });
    expect(Buffer.compare(await store.get("once.bin"), value)).toBe(0);
    expect((await failure(store.put("once.bin", value, { ifAbsent: true }))).code).toBe("STORE_EXISTS");
  });

  test("a large value survives a part that fails, and is not there when parts keep failing", async () => {
    const slow = await openStore(s3Url(proxy.port, `m-${randomUUID()}`, { timeoutMs: "10000" }));
    const large = noise(20 * MIB + 7);
    proxy.plan({ effect: "status", status: 503, code: "SlowDown", method: "PUT", times: 2 });
    await slow.put("large.bin", large);
    expect(Buffer.compare(await slow.get("large.bin"), large)).toBe(0);
    expect((await failure(slow.put("large.bin", large, { ifAbsent: true }))).code).toBe("STORE_EXISTS");
    proxy.plan({ effect: "status", status: 403, code: "AccessDenied", method: "PUT" });
    expect((await failure(slow.put("other.bin", large))).code).toBe("STORE_FORBIDDEN");
    proxy.plan();
    expect(await slow.stat("other.bin")).toBeUndefined();
    await slow.close();
  });

  test.each([true, false])("a large put whose last answer was lost is done (if absent: %s)", async (ifAbsent) => {
    const slow = await openStore(s3Url(proxy.port, `l-${randomUUID()}`, { timeoutMs: "10000" }));
    const large = noise(17 * MIB);
    const last = { method: "POST", urlPart: "uploadId=", times: 1 };
    // Servers differ in whether they remember an upload that is over.
    proxy.plan({ ...last, effect: "lose-answer" }, { ...last, effect: "status", status: 404, code: "NoSuchUpload" });
    await slow.put("large.bin", large, { ifAbsent });
    expect(Buffer.compare(await slow.get("large.bin"), large)).toBe(0);
    proxy.plan({ ...last, effect: "status", status: 404, code: "NoSuchUpload" });
    expect((await failure(slow.put("other.bin", large))).code).toBe("STORE_UNAVAILABLE");
    await slow.close();
  });

  test("of many large conditional puts exactly one wins", async () => {
    const own = await openStore(s3Url(s3.port, `r-${randomUUID()}`));
    const puts = [1, 2, 3].map((byte) => own.put("large.bin", new Uint8Array(17 * MIB).fill(byte), { ifAbsent: true }));
    const outcomes = await Promise.allSettled(puts);
    const winners = outcomes.flatMap((outcome, i) => (outcome.status === "fulfilled" ? [i + 1] : []));
    expect(winners).toHaveLength(1);
    for (const outcome of outcomes)
      if (outcome.status === "rejected") expect(outcome.reason).toMatchObject({ code: "STORE_EXISTS" });
    const read = await own.get("large.bin");
    expect(read.length === 17 * MIB && read.every((byte) => byte === winners[0])).toBe(true);
    await own.close();
  });

  test("heeds a signal while the server does not answer", async () => {
    proxy.plan({ effect: "hang" });
    const error = await failure(store.get("a.bin", { signal: AbortSignal.timeout(30) }));
    expect(error.code).toBe("DEADLINE_EXCEEDED");
  });

  test("asks no more once three calls in a row got no answer", async () => {
    proxy.plan({ effect: "status", status: 500, code: "InternalError" });
    for (let i = 0; i < 3; i++) expect((await failure(store.get("a.bin"))).code).toBe("STORE_UNAVAILABLE");
    const asked = proxy.numRequests;
    const started = Date.now();
    const error = await failure(store.get("a.bin"));
    expect([error.code, error.details["breaker"], proxy.numRequests]).toEqual(["STORE_UNAVAILABLE", "open", asked]);
    expect(Date.now() - started).toBeLessThan(50);
  });

  test("does not repeat more than its budget allows", async () => {
    proxy.plan({ effect: "status", status: 500, code: "InternalError" });
    // Beside the breaker of openStore, which would stop asking after three: a store each.
    const asked: number[] = [];
    for (let i = 0; i < 6; i++) {
      await failure(store.get("a.bin"));
      asked.push(proxy.numRequests);
    }
    expect(asked.at(-1)).toBeLessThanOrEqual(6 + 11);
  });
});

describe("an S3 store whose server is in trouble", () => {
  let own: TestProcess;
  let store: BlobStore;
  beforeEach(async () => {
    own = await startS3();
    store = await openStore(s3Url(own.port, "x", { timeoutMs: "1000" }));
  });
  afterEach(async () => {
    await store.close();
    await own.remove();
  });

  test("answers within its deadlines while the server stands still, and recovers", async () => {
    await store.put("a.bin", noise(1_000));
    await own.pause();
    const startedMs = Date.now();
    expect((await failure(store.get("a.bin"))).code).toBe("STORE_UNAVAILABLE");
    // Four attempts of one second and the waits between.
    expect(Date.now() - startedMs).toBeLessThan(8_000);
    own.resume();
    expect(await store.get("a.bin")).toEqual(noise(1_000));
  });

  test("holds the old value or the new, never a mix, when the server is killed within a put", async () => {
    const size = 24 * MIB;
    const filled = (byte: number): Uint8Array => new Uint8Array(size).fill(byte);
    const patient = await openStore(s3Url(own.port, "y"));
    await patient.put("a.bin", filled(1));
    for (let round = 0; round < 3; round++) {
      const putting = patient.put("a.bin", filled(2 + round)).catch((error: KvaultError) => error.code);
      await new Promise((resolve) => setTimeout(resolve, 20 + 60 * round));
      await own.kill9();
      expect(await putting).toSatisfy((code) => code === undefined || code === "STORE_UNAVAILABLE");
      await own.start();
      const again = await openStore(s3Url(own.port, "y"));
      const read = await again.get("a.bin");
      expect(read.length === size && read.every((byte) => byte === read[0])).toBe(true);
      const keys: string[] = [];
      for await (const key of again.list("")) keys.push(key);
      expect(keys).toEqual(["a.bin"]);
      await again.close();
    }
    await patient.close();
  });
});

describe("openStore(s3:)", () => {
  test("is STORE_UNAVAILABLE for a bucket that is not there and for a server that is down", async () => {
    const other = s3Url(s3.port, "x").replace("s3://contexts", "s3://nobodys");
    expect(await failure(openStore(other))).toMatchObject({ code: "STORE_UNAVAILABLE", retryable: false });
    expect(await failure(openStore(s3Url(1, "x")))).toMatchObject({ code: "STORE_UNAVAILABLE", retryable: true });
  });

  test("is STORE_FORBIDDEN for wrong credentials", async () => {
    const secret = process.env["AWS_SECRET_ACCESS_KEY"];
    process.env["AWS_SECRET_ACCESS_KEY"] = "wrong";
    try {
      expect((await failure(openStore(s3Url(s3.port, "x")))).code).toBe("STORE_FORBIDDEN");
    } finally {
      process.env["AWS_SECRET_ACCESS_KEY"] = secret;
    }
  });

  test.each([
    ["s3://ab", "is not a bucket name"],
    ["s3://key:secret@contexts", "credentials belong in the environment"],
    ["s3://contexts/a//b", "is not folders"],
    ["s3://contexts?endpoint=ftp://x", "the endpoint is not"],
    ["s3://contexts?acl=public", 'unknown setting "acl"'],
  ])("refuses %s: %s", async (url, why) => {
    const error = await failure(openStore(url));
    expect([error.code, error.message]).toEqual(["INVALID_ARGUMENT", expect.stringContaining(why)]);
    expect(error.message).not.toContain("key:secret");
  });
});
