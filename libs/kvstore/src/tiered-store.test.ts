import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { isKvaultError, KvaultError, sha256Hex } from "@kvault/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openFilesystemStore } from "./backends/filesystem.ts";
import { openMemoryStore } from "./backends/memory.ts";
import type { BlobStore, CallOptions, PutOptions } from "./blob-store.ts";
import type { Tier } from "./cache-tier.ts";
import { blobStoreConformance } from "./testing/conformance.ts";
import { openTieredStore, type TieredStoreOptions, type TierHit } from "./tiered-store.ts";

/** A store whose calls can be made to fail, and whose values can be spoilt. */
class Fragile implements BlobStore {
  readonly abilities = { durable: false, shared: false };
  readonly inner: BlobStore = openMemoryStore();
  failing = false;
  gets = 0;
  /** Reads wait for this. */
  gate: Promise<void> = Promise.resolve();

  async put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<void> {
    this.#check();
    await this.inner.put(key, bytes, options);
  }
  async get(key: string, options?: CallOptions): Promise<Uint8Array> {
    this.gets++;
    await this.gate;
    this.#check();
    return this.inner.get(key, options);
  }
  async stat(key: string) {
    this.#check();
    return this.inner.stat(key);
  }
  async delete(key: string): Promise<void> {
    this.#check();
    await this.inner.delete(key);
  }
  list(prefix: string): AsyncIterable<string> {
    return this.inner.list(prefix);
  }
  close(): Promise<void> {
    return this.inner.close();
  }
  async usedBytes(): Promise<number> {
    let bytes = 0;
    for await (const key of this.inner.list("")) bytes += (await this.inner.stat(key))?.bytes ?? 0;
    return bytes;
  }
  async spoil(key: string): Promise<void> {
    const bytes = await this.inner.get(key).catch(() => undefined);
    if (bytes === undefined || bytes.length === 0) return;
    bytes[0] = (bytes[0] as number) ^ 1;
    await this.inner.put(key, bytes);
  }
  #check(): void {
    if (this.failing) throw new KvaultError("STORE_UNAVAILABLE", "Cannot use store: it is down");
  }
}

/** Values whose key is their hash. */
function value(i: number, size: number): { key: string; bytes: Uint8Array } {
  const bytes = new Uint8Array(size).fill(i + 1);
  return { key: `v/${sha256Hex(bytes)}.bin`, bytes };
}
const sha256Of = (key: string): string | undefined => /^v\/([0-9a-f]{64})\.bin$/.exec(key)?.[1];

interface Rig {
  readonly memory: Fragile;
  readonly disk: Fragile;
  readonly remote: Fragile;
  readonly store: BlobStore;
  readonly hits: TierHit[];
  readonly trouble: [tier: string, code: string][];
}

async function rig(memoryBytes = 1_000, diskBytes = 3_000, more: Partial<TieredStoreOptions> = {}): Promise<Rig> {
  const [memory, disk, remote] = [new Fragile(), new Fragile(), new Fragile()];
  const hits: TierHit[] = [];
  const trouble: Rig["trouble"] = [];
  const store = await openTieredStore({
    tiers: tiersOf(memory, memoryBytes, disk, diskBytes),
    remote,
    sha256Of,
    onHit: (hit) => hits.push(hit),
    onTrouble: (tier, { code }) => trouble.push([tier, code]),
    ...more,
  });
  return { memory, disk, remote, store, hits, trouble };
}

function tiersOf(memory: BlobStore, memoryBytes: number, disk: BlobStore, diskBytes: number): Tier[] {
  return [
    { name: "memory", store: memory, capacityBytes: memoryBytes, checkOnRead: false },
    { name: "disk", store: disk, capacityBytes: diskBytes, checkOnRead: true },
  ];
}

/** Until the copies that are made beside an answer are made. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)));

blobStoreConformance("a tiered store", {
  open: async () => (await rig()).store,
});

let folder = "";
const filesBehindMemory = async (): Promise<BlobStore> =>
  openTieredStore({
    tiers: [{ name: "memory", store: openMemoryStore(), capacityBytes: 1_000_000, checkOnRead: false }],
    remote: await openFilesystemStore(folder),
  });

blobStoreConformance("a filesystem behind tiers", {
  open: async () => {
    folder = await mkdtemp(path.join(tmpdir(), "kvault-tiers-"));
    return filesBehindMemory();
  },
  openAgain: filesBehindMemory,
  clean: () => rm(folder, { recursive: true }),
});

describe("openTieredStore()", () => {
  test("serves from the remote once, then from the fastest tier that has a copy", async () => {
    const { store, memory, disk, remote, hits } = await rig();
    const { key, bytes } = value(1, 100);
    await store.put(key, bytes);
    for (let i = 0; i < 2; i++) {
      expect(await store.get(key)).toEqual(bytes);
      await settle();
    }
    await memory.inner.delete(key);
    expect(await store.get(key)).toEqual(bytes);
    expect(hits.map(({ tier }) => tier)).toEqual(["remote", "memory", "disk"]);
    expect([remote.gets, await disk.usedBytes()]).toEqual([1, 100]);
  });

  test("asks the remote each time for values whose name does not tell their content", async () => {
    const { store, remote, memory } = await rig();
    await store.put("a/manifest.json", Uint8Array.of(1));
    await store.get("a/manifest.json");
    await remote.put("a/manifest.json", Uint8Array.of(2));
    expect(await store.get("a/manifest.json")).toEqual(Uint8Array.of(2));
    expect(await memory.usedBytes()).toBe(0);
  });

  test("loads once for many readers at a time, each with bytes of its own", async () => {
    const { store, remote } = await rig();
    const { key, bytes } = value(1, 100);
    await store.put(key, bytes);
    const reads = await Promise.all(Array.from({ length: 20 }, () => store.get(key)));
    expect(remote.gets).toBe(1);
    reads[0]?.fill(0);
    expect(reads[1]).toEqual(bytes);
    await settle();
    expect(await store.get(key)).toEqual(bytes);
  });

  test("goes on loading while one reader waits, and stops when none does", async () => {
    const { store, remote } = await rig();
    const { key, bytes } = value(1, 100);
    await store.put(key, bytes);
    let open = (): void => undefined;
    remote.gate = new Promise((resolve) => {
      open = resolve;
    });
    const impatient = new AbortController();
    const [first, second] = [store.get(key, { signal: impatient.signal }), store.get(key)];
    impatient.abort();
    await expect(first).rejects.toMatchObject({ code: "CANCELLED" });
    open();
    expect(await second).toEqual(bytes);
    expect(remote.gets).toBe(1);
  });

  test("drops a damaged copy and serves the next tier's", async () => {
    const { store, memory, disk, hits, trouble } = await rig();
    const { key, bytes } = value(1, 100);
    await store.put(key, bytes);
    await store.get(key);
    await settle();
    await memory.inner.delete(key);
    await disk.spoil(key);
    expect(await store.get(key)).toEqual(bytes);
    expect([hits.at(-1)?.tier, trouble]).toEqual(["remote", [["disk", "CACHE_CORRUPT"]]]);
  });

  test("never serves a damaged value of the remote, and keeps no copy of it", async () => {
    const { store, remote, disk } = await rig();
    const { key, bytes } = value(1, 100);
    await store.put(key, bytes);
    await remote.spoil(key);
    await expect(store.get(key)).rejects.toMatchObject({ code: "CACHE_CORRUPT" });
    await settle();
    expect(await disk.usedBytes()).toBe(0);
  });

  test("serves what it has while the remote is down, and from the remote while tiers are", async () => {
    const { store, memory, disk, remote, hits } = await rig();
    const [a, b] = [value(1, 100), value(2, 100)];
    for (const { key, bytes } of [a, b]) await store.put(key, bytes);
    await store.get(a.key);
    await settle();
    remote.failing = true;
    expect(await store.get(a.key)).toEqual(a.bytes);
    await expect(store.get(b.key)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    remote.failing = false;
    memory.failing = true;
    disk.failing = true;
    expect(await store.get(a.key)).toEqual(a.bytes);
    expect(hits.at(-1)?.tier).toBe("remote");
  });

  test("takes over what a disk held before, oldest first to go", async () => {
    const disk = new Fragile();
    const values = Array.from({ length: 9 }, (_, i) => value(i, 100));
    for (const { key, bytes } of values) {
      await disk.inner.put(key, bytes);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const { store, hits } = await rig(0, 0, { tiers: tiersOf(new Fragile(), 0, disk, 1_000) });
    expect(await disk.usedBytes()).toBe(600);
    const newest = values.at(-1) as (typeof values)[number];
    expect(await store.get(newest.key)).toEqual(newest.bytes);
    expect(hits[0]?.tier).toBe("disk");
  });

  test("finds its disk copies after a restart, and passes by one that was damaged meanwhile", async () => {
    const directory = await mkdtemp(path.join(tmpdir(), "kvault-tier-"));
    try {
      const remote = new Fragile();
      const values = [value(1, 5_000), value(2, 5_000)];
      for (const { key, bytes } of values) await remote.put(key, bytes);
      const start = async (hits: string[]): Promise<BlobStore> => {
        const disk = await openFilesystemStore(directory, { fsync: false });
        const tiers: Tier[] = [{ name: "disk", store: disk, capacityBytes: 100_000, checkOnRead: true }];
        return openTieredStore({ tiers, remote, sha256Of, onHit: ({ tier }) => hits.push(tier) });
      };
      const first = await start([]);
      for (const { key } of values) await first.get(key);
      await first.close();
      // Closing waited for the copies, and closed the remote with it.
      Object.assign(remote, { inner: openMemoryStore() });
      await remote.put(values[1]!.key, values[1]!.bytes);
      await writeFile(path.join(directory, values[1]!.key), "damaged");
      const hits: string[] = [];
      const second = await start(hits);
      for (const { key, bytes } of values) expect(await second.get(key)).toEqual(bytes);
      await second.close();
      expect(hits).toEqual(["disk", "remote"]);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  });

  test("evicts the least recently used from the high watermark to the low", async () => {
    const { store, memory } = await rig(1_000, 0);
    const values = Array.from({ length: 9 }, (_, i) => value(i, 100));
    for (const { key, bytes } of values) await store.put(key, bytes);
    for (const { key } of values.slice(0, 8)) {
      await store.get(key);
      await settle();
    }
    expect(await memory.usedBytes()).toBe(800);
    await store.get(values[0]!.key);
    await store.get(values[8]!.key);
    await settle();
    expect(await memory.usedBytes()).toBe(600);
    expect(await memory.inner.stat(values[0]!.key)).toBeDefined();
    expect(await memory.inner.stat(values[1]!.key)).toBeUndefined();
  });

  test("deletes everywhere, also what is being loaded", async () => {
    const { store, memory, disk, remote } = await rig();
    const { key, bytes } = value(1, 100);
    await store.put(key, bytes);
    let open = (): void => undefined;
    remote.gate = new Promise((resolve) => {
      open = resolve;
    });
    const reading = store.get(key).catch((error: unknown) => isKvaultError(error, "STORE_NOT_FOUND"));
    await settle();
    const deleting = store.delete(key);
    open();
    await Promise.all([reading, deleting]);
    await settle();
    expect([await memory.usedBytes(), await disk.usedBytes()]).toEqual([0, 0]);
    await expect(store.get(key)).rejects.toMatchObject({ code: "STORE_NOT_FOUND" });
  });

  test("behaves as the remote alone, whatever fails beside it, and within its budgets", async () => {
    const VALUES = Array.from({ length: 8 }, (_, i) => value(i, 40 + 60 * i));
    const which = fc.nat({ max: VALUES.length - 1 });
    const action = fc.oneof(
      { weight: 3, arbitrary: fc.record({ type: fc.constant("put" as const), which }) },
      { weight: 8, arbitrary: fc.record({ type: fc.constant("get" as const), which, readers: fc.integer({ min: 1, max: 3 }) }) },
      { weight: 2, arbitrary: fc.record({ type: fc.constant("delete" as const), which }) },
      { weight: 1, arbitrary: fc.record({ type: fc.constant("spoil" as const), which }) },
      {
        weight: 2,
        arbitrary: fc.record({
          type: fc.constant("fail" as const),
          part: fc.constantFrom("memory" as const, "disk" as const, "remote" as const),
          failing: fc.boolean(),
        }),
      },
      { weight: 3, arbitrary: fc.record({ type: fc.constant("settle" as const) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 60 }), async (actions) => {
        const parts = await rig(1_000, 1_500);
        const { store, memory, disk, remote } = parts;
        const held = new Set<string>();
        for (const step of actions) {
          if (step.type === "settle") await settle();
          if (step.type === "fail") parts[step.part].failing = step.failing;
          if (step.type === "spoil") await disk.spoil((VALUES[step.which] as (typeof VALUES)[number]).key);
          if (step.type === "put" || step.type === "delete") {
            const { key, bytes } = VALUES[step.which] as (typeof VALUES)[number];
            const done = step.type === "put" ? store.put(key, bytes) : store.delete(key);
            const error = await done.then(
              () => undefined,
              (thrown: unknown) => thrown,
            );
            expect(isKvaultError(error, "STORE_UNAVAILABLE")).toBe(remote.failing);
            if (error === undefined) held[step.type === "put" ? "add" : "delete"](key);
          }
          if (step.type === "get") {
            const { key, bytes } = VALUES[step.which] as (typeof VALUES)[number];
            for (const read of await Promise.allSettled(Array.from({ length: step.readers }, () => store.get(key)))) {
              if (read.status === "fulfilled") expect([held.has(key), read.value]).toEqual([true, bytes]);
              else if (remote.failing) expect(read.reason).toMatchObject({ code: "STORE_UNAVAILABLE" });
              else expect([held.has(key), read.reason.code]).toEqual([false, "STORE_NOT_FOUND"]);
            }
          }
          expect(await memory.usedBytes()).toBeLessThanOrEqual(800);
          expect(await disk.usedBytes()).toBeLessThanOrEqual(1_200);
        }
        await store.close();
      }),
      { numRuns: 150 },
    );
  });
});
