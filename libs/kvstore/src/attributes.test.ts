import { failureOf } from "@kvault/core/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type ContextAttributes, putAttributes, readAttributes } from "./attributes.ts";
import { openMemoryStore } from "./backends/memory.ts";
import type { BlobStore } from "./blob-store.ts";
import { deleteRecord } from "./record.ts";
import { attributesKey, attributesPrefix } from "./record-layout.ts";
import { faultyStore } from "./testing/faulty-store.ts";

const ID = `c${"1".repeat(32)}`;

function attributesOf(revision: number, more: Partial<ContextAttributes> = {}): ContextAttributes {
  return {
    revision,
    createTimeMs: 1_000,
    updateTimeMs: 2_000,
    displayName: `revision ${revision}`,
    labels: { a: "b" },
    expireTimeMs: 0,
    ttlMs: 0,
    refreshOnUse: false,
    pinned: false,
    deleteTimeMs: 0,
    purgeTimeMs: 0,
    ...more,
  };
}

async function keysOf(store: BlobStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of store.list(attributesPrefix(ID))) keys.push(key);
  return keys;
}

describe("attributes of a record", () => {
  test("are read as they were put; the latest revision counts and clears the earlier ones away", async () => {
    const store = openMemoryStore();
    expect(await readAttributes(store, ID, 1_000)).toBeUndefined();
    for (const revision of [1, 2, 10]) await putAttributes(store, ID, attributesOf(revision));
    expect(await readAttributes(store, ID, 1_000)).toEqual(attributesOf(10));
    expect(await keysOf(store)).toEqual([attributesKey(ID, attributesOf(10))]);
  });

  test("of many writers of one revision one wins; the others are told", async () => {
    const store = openMemoryStore();
    const names = Array.from({ length: 20 }, (_, i) => `writer ${i}`);
    const done = await Promise.allSettled(names.map((displayName) => putAttributes(store, ID, attributesOf(1, { displayName }))));
    const winners = names.filter((_, i) => done[i]?.status === "fulfilled");
    expect(winners).toHaveLength(1);
    expect((await readAttributes(store, ID, 1_000))?.displayName).toBe(winners[0]);
  });

  test("a writer that slept through later revisions is told, also when its own was cleared away", async () => {
    const store = openMemoryStore();
    for (const revision of [1, 2]) await putAttributes(store, ID, attributesOf(revision));
    expect((await failureOf(putAttributes(store, ID, attributesOf(1, { displayName: "late" })))).code).toBe("STORE_EXISTS");
    expect(await readAttributes(store, ID, 1_000)).toEqual(attributesOf(2));
    expect(await keysOf(store)).toHaveLength(1);
  });

  test("a store that fails to clear away loses nothing", async () => {
    const store = openMemoryStore();
    await putAttributes(store, ID, attributesOf(1));
    const failing = faultyStore(store, [{ on: "delete", effect: "fail", error: new Error("down") }]);
    await putAttributes(failing, ID, attributesOf(2));
    expect(await keysOf(store)).toHaveLength(2);
    expect(await readAttributes(store, ID, 1_000)).toEqual(attributesOf(2));
  });

  test("of an earlier record of the same id do not count", async () => {
    const store = openMemoryStore();
    await putAttributes(store, ID, attributesOf(7, { createTimeMs: 999 }));
    expect(await readAttributes(store, ID, 1_000)).toBeUndefined();
    await putAttributes(store, ID, attributesOf(1));
    expect(await readAttributes(store, ID, 1_000)).toEqual(attributesOf(1));
  });

  test("go with the record", async () => {
    const store = openMemoryStore();
    await putAttributes(store, ID, attributesOf(1));
    await deleteRecord(store, ID);
    expect(await keysOf(store)).toEqual([]);
  });

  test("that are damaged, or anything at all, are CACHE_CORRUPT", async () => {
    const store = openMemoryStore();
    const key = attributesKey(ID, attributesOf(1));
    const damaged = [
      JSON.stringify({ schema: "kvault.attributes/1", ...attributesOf(2) }),
      JSON.stringify({ schema: "kvault.attributes/2", ...attributesOf(1) }),
      JSON.stringify({ schema: "kvault.attributes/1", ...attributesOf(1), extra: true }),
    ].map((text) => Buffer.from(text));
    const cases = [...damaged, ...fc.sample(fc.uint8Array({ maxLength: 400 }), { numRuns: 300, seed: 1 })];
    for (const bytes of cases) {
      await store.put(key, bytes);
      expect((await failureOf(readAttributes(store, ID, 1_000))).code).toBe("CACHE_CORRUPT");
    }
  });
});
