import { KvaultError } from "@kvault/core";
import { beforeEach, describe, expect, test } from "vitest";
import { openMemoryStore } from "./backends/memory.ts";
import type { BlobStore } from "./blob-store.ts";
import { encodeManifest } from "./manifest.ts";
import { deleteRecord, listRecords, readManifest, readPart } from "./record.ts";
import { manifestKey, partKey } from "./record-layout.ts";
import { faultyStore } from "./testing/faulty-store.ts";
import { publishSample, sampleIdentity } from "./testing/sample-record.ts";

let store: BlobStore;
beforeEach(() => {
  store = openMemoryStore();
});

async function keysOf(from: BlobStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of from.list("")) keys.push(key);
  return keys;
}

const missing = `c${"0".repeat(32)}`;

describe("readManifest()", () => {
  test("reads what was committed", async () => {
    const manifest = await publishSample(store, "text");
    expect(await readManifest(store, manifest.contextId)).toEqual(manifest);
    expect(await readManifest(store, manifest.contextId, { expected: sampleIdentity("text") })).toEqual(manifest);
  });

  test("is CONTEXT_NOT_FOUND when there is no record", async () => {
    await expect(readManifest(store, missing)).rejects.toMatchObject({
      code: "CONTEXT_NOT_FOUND",
      details: { contextId: missing },
    });
  });

  test("passes on a store's failure as what it is", async () => {
    const { contextId } = await publishSample(store, "text");
    for (const code of ["STORE_UNAVAILABLE", "STORE_FORBIDDEN"] as const) {
      const faulty = faultyStore(store, [{ on: "get", effect: "fail", error: new KvaultError(code, "planned") }]);
      await expect(readManifest(faulty, contextId)).rejects.toMatchObject({ code });
    }
  });

  test.each([
    ["weightsSha256", "9".repeat(64)],
    ["tokenizerSha256", "9".repeat(64)],
    ["templateSha256", "9".repeat(64)],
    ["rope", "rope(theta=10000,dim=64)"],
    ["contentSha256", "9".repeat(64)],
    ["spec", "none"],
    ["formatVersion", 2],
  ] as const)("refuses a record with another %s by name, with what was expected and found", async (field, expected) => {
    const { contextId, identity } = await publishSample(store, "text");
    await expect(readManifest(store, contextId, { expected: { [field]: expected } })).rejects.toMatchObject({
      code: "INCOMPATIBLE_MODEL",
      details: { contextId, field, expected, found: identity[field] },
    });
  });

  test("names another tenant's salt without showing either", async () => {
    const { contextId } = await publishSample(store, "text");
    const refused = readManifest(store, contextId, { expected: { tenantSalt: "secret" } });
    await expect(refused).rejects.toMatchObject({ code: "INCOMPATIBLE_MODEL", details: { contextId, field: "tenantSalt" } });
    await expect(refused).rejects.not.toThrow(/secret/);
  });

  test("is CACHE_CORRUPT for a manifest cut short, and says of which context", async () => {
    const { contextId } = await publishSample(store, "text");
    const faulty = faultyStore(store, [{ on: "get", effect: "truncate", bytes: 100 }]);
    await expect(readManifest(faulty, contextId)).rejects.toMatchObject({ code: "CACHE_CORRUPT", details: { contextId } });
  });

  test("is CACHE_CORRUPT for a sound manifest of another context", async () => {
    const { contextId } = await publishSample(store, "text");
    const other = await publishSample(store, "other text");
    await store.put(manifestKey(contextId), encodeManifest(other));
    await expect(readManifest(store, contextId)).rejects.toMatchObject({
      code: "CACHE_CORRUPT",
      details: { expected: contextId, found: other.contextId },
    });
  });
});

describe("readPart()", () => {
  test("returns bytes that are what the manifest says", async () => {
    const { contextId, layers } = await publishSample(store, "text");
    for (const ref of layers.flatMap((layer) => layer.parts)) {
      const bytes = await readPart(store, contextId, ref);
      expect(bytes).toEqual(await store.get(partKey(contextId, ref.sha256)));
    }
  });

  test("refuses any flipped bit as CACHE_CORRUPT with both ids", async () => {
    const { contextId, layers } = await publishSample(store, "text");
    const ref = layers[1]!.parts[0]!;
    for (const bit of [0, 77, ref.bytes * 4, ref.bytes * 8 - 1]) {
      const faulty = faultyStore(store, [{ on: "get", effect: "flip-bit", bit }]);
      await expect(readPart(faulty, contextId, ref)).rejects.toMatchObject({
        code: "CACHE_CORRUPT",
        details: { contextId, part: ref.sha256 },
      });
    }
  });

  test("refuses a part that is too short or missing", async () => {
    const { contextId, layers } = await publishSample(store, "text");
    const ref = layers[0]!.parts[0]!;
    const torn = faultyStore(store, [{ on: "get", effect: "truncate", bytes: ref.bytes - 1 }]);
    await expect(readPart(torn, contextId, ref)).rejects.toMatchObject({ code: "CACHE_CORRUPT" });
    await store.delete(partKey(contextId, ref.sha256));
    await expect(readPart(store, contextId, ref)).rejects.toMatchObject({ code: "CACHE_CORRUPT" });
  });

  test("is CONTEXT_NOT_FOUND when the record was deleted since its manifest was read", async () => {
    const { contextId, layers } = await publishSample(store, "text");
    await deleteRecord(store, contextId);
    await expect(readPart(store, contextId, layers[0]!.parts[0]!)).rejects.toMatchObject({ code: "CONTEXT_NOT_FOUND" });
  });
});

describe("listRecords()", () => {
  test("gives the manifests of all records by id, and reports the broken ones", async () => {
    const manifests = await Promise.all(["a", "b", "c", "d"].map((text) => publishSample(store, text)));
    const broken = manifests[1]!.contextId;
    await store.put(manifestKey(broken), new TextEncoder().encode('{"schema":"kvault.context/9"}'));
    const reported: [string, string][] = [];
    const found: string[] = [];
    for await (const {
      manifest: { contextId },
    } of listRecords(store, { onBroken: (id, { code }) => reported.push([id, code]) }))
      found.push(contextId);
    expect(found).toEqual(
      manifests
        .map(({ contextId }) => contextId)
        .filter((id) => id !== broken)
        .sort(),
    );
    expect(reported).toEqual([[broken, "INCOMPATIBLE_FORMAT"]]);
  });

  test("skips a record deleted while listing, and other keys", async () => {
    const ids = (await Promise.all(["a", "b"].map((text) => publishSample(store, text))))
      .map(({ contextId }) => contextId)
      .sort();
    await store.put("v1/contexts/other.txt", Uint8Array.of(1));
    const found: string[] = [];
    for await (const {
      manifest: { contextId },
    } of listRecords(store)) {
      found.push(contextId);
      await deleteRecord(store, ids[1] as string);
    }
    expect(found).toEqual([ids[0]]);
  });

  test("fails when the store does", async () => {
    await publishSample(store, "a");
    const faulty = faultyStore(store, [{ on: "get", effect: "fail", error: new KvaultError("STORE_UNAVAILABLE", "planned") }]);
    await expect(listRecords(faulty).next()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  });
});

describe("deleteRecord()", () => {
  test("removes manifest and parts of one record, and is idempotent", async () => {
    const { contextId } = await publishSample(store, "a");
    const other = await publishSample(store, "b");
    expect(await deleteRecord(store, contextId)).toBe(true);
    expect(await deleteRecord(store, contextId)).toBe(false);
    expect((await keysOf(store)).every((key) => key.includes(other.contextId))).toBe(true);
    expect(await readManifest(store, other.contextId)).toEqual(other);
  });

  test("takes the manifest first, so that a crash in between leaves no half record", async () => {
    const { contextId } = await publishSample(store, "a");
    const error = new KvaultError("STORE_UNAVAILABLE", "planned");
    const faulty = faultyStore(store, [{ on: "delete", keyEnd: ".safetensors", effect: "fail", error }]);
    await expect(deleteRecord(faulty, contextId)).rejects.toBe(error);
    await expect(readManifest(store, contextId)).rejects.toMatchObject({ code: "CONTEXT_NOT_FOUND" });
    expect(await deleteRecord(store, contextId)).toBe(false);
    expect(await keysOf(store)).toEqual([]);
  });
});
