import { KvaultError } from "@kvault/core";
import { beforeEach, describe, expect, test } from "vitest";
import { openMemoryStore } from "./backends/memory.ts";
import type { BlobStore } from "./blob-store.ts";
import { contextDigest, contextIdOf } from "./identity.ts";
import type { ContextManifest, LayerManifest } from "./manifest.ts";
import { MANIFEST_LIMITS } from "./manifest.ts";
import { readManifest, readPart } from "./record.ts";
import { manifestKey, partKey } from "./record-layout.ts";
import type { RecordWriter } from "./record-writer.ts";
import { openRecordWriter } from "./record-writer.ts";
import { faultyStore } from "./testing/faulty-store.ts";
import { sampleIdentity, sampleManifest, samplePart } from "./testing/sample-record.ts";

const identity = sampleIdentity("text");
const contextId = contextIdOf(contextDigest(identity));

let nowMs: number;
let store: BlobStore;
beforeEach(() => {
  nowMs = 1000;
  store = openMemoryStore(() => nowMs++);
});

async function keysOf(from: BlobStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of from.list("")) keys.push(key);
  return keys;
}

/** Puts one part per seed and returns the manifest that names them. */
async function putLayers(
  writer: RecordWriter,
  seeds: readonly [number, number],
  createTimeMs?: number,
): Promise<ContextManifest> {
  const layers: LayerManifest[] = [];
  for (const seed of seeds) {
    const { bytes, headLengths } = samplePart(seed);
    layers.push({ parts: [await writer.putPart(bytes)], headLengths });
  }
  return sampleManifest(identity, layers, createTimeMs === undefined ? {} : { createTimeMs });
}

describe("RecordWriter.putPart()", () => {
  test("names a part by its content and stores the same content once", async () => {
    const writer = openRecordWriter(store, contextId);
    const { bytes } = samplePart(1);
    const refs = await Promise.all([
      writer.putPart(bytes),
      writer.putPart(bytes),
      openRecordWriter(store, contextId).putPart(bytes),
    ]);
    expect(new Set(refs.map(({ sha256 }) => sha256)).size).toBe(1);
    expect(await keysOf(store)).toEqual([partKey(contextId, refs[0]!.sha256)]);
    expect(await readPart(store, contextId, refs[0]!)).toEqual(bytes);
  });

  test("can be tried again after a failure", async () => {
    const error = new KvaultError("STORE_UNAVAILABLE", "planned");
    const writer = openRecordWriter(faultyStore(store, [{ on: "put", call: 1, effect: "fail", error }]), contextId);
    await expect(writer.putPart(samplePart(1).bytes)).rejects.toBe(error);
    await expect(writer.putPart(samplePart(1).bytes)).resolves.toHaveProperty("sha256");
  });

  test("heals a damaged blob of the same content", async () => {
    const { bytes } = samplePart(1);
    const ref = await openRecordWriter(store, contextId).putPart(bytes);
    await store.put(partKey(contextId, ref.sha256), Uint8Array.of(1));
    await openRecordWriter(store, contextId).putPart(bytes);
    expect(await readPart(store, contextId, ref)).toEqual(bytes);
  });

  test("refuses empty and oversized parts, aborted calls and bad ids", async () => {
    const writer = openRecordWriter(store, contextId);
    await expect(writer.putPart(new Uint8Array(0))).rejects.toThrow(RangeError);
    await expect(writer.putPart(new Uint8Array(MANIFEST_LIMITS.partBytes + 1))).rejects.toThrow(RangeError);
    await expect(writer.putPart(samplePart(1).bytes, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: "CANCELLED",
    });
    expect(() => openRecordWriter(store, "../x")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(await keysOf(store)).toEqual([]);
  });
});

describe("RecordWriter.commit()", () => {
  test("makes the record exist; before it there is none", async () => {
    const writer = openRecordWriter(store, contextId);
    const manifest = await putLayers(writer, [1, 2]);
    await expect(readManifest(store, contextId)).rejects.toMatchObject({ code: "CONTEXT_NOT_FOUND" });
    expect(await writer.commit(manifest)).toEqual({ manifest, created: true });
    expect(await readManifest(store, contextId)).toEqual(manifest);
  });

  test("lets the late writer lose quietly: it gets the first record and leaves no part behind", async () => {
    const [first, late] = [openRecordWriter(store, contextId), openRecordWriter(store, contextId)];
    const lateManifest = await putLayers(late, [1, 3], 2000); // shares part 1
    const manifest = await putLayers(first, [1, 2], 1000);
    await first.commit(manifest);
    expect(await late.commit(lateManifest)).toEqual({ manifest, created: false });
    const named = manifest.layers.map(({ parts }) => partKey(contextId, parts[0]!.sha256));
    expect(await keysOf(store)).toEqual([manifestKey(contextId), ...named].sort());
  });

  test("has one winner among many at once, and all get its manifest", async () => {
    const writers = Array.from({ length: 6 }, () => openRecordWriter(store, contextId));
    const manifests = await Promise.all(writers.map((writer, i) => putLayers(writer, [10 + i, 20], 1000 + i)));
    const results = await Promise.all(writers.map((writer, i) => writer.commit(manifests[i] as ContextManifest)));
    expect(results.filter(({ created }) => created)).toHaveLength(1);
    const winner = results.find(({ created }) => created)?.manifest;
    for (const { manifest } of results) expect(manifest).toEqual(winner);
    for (const ref of winner?.layers.flatMap(({ parts }) => parts) ?? []) await readPart(store, contextId, ref);
    expect(await keysOf(store)).toHaveLength(3);
  });

  test("refuses a manifest that names a part not put by this writer, even one that is there", async () => {
    const manifest = await putLayers(openRecordWriter(store, contextId), [1, 2]);
    const writer = openRecordWriter(store, contextId);
    await writer.putPart(samplePart(1).bytes);
    await expect(writer.commit(manifest)).rejects.toThrow(RangeError);
    await expect(readManifest(store, contextId)).rejects.toMatchObject({ code: "CONTEXT_NOT_FOUND" });
  });

  test("refuses another context's manifest and one that contradicts itself", async () => {
    const writer = openRecordWriter(store, contextId);
    const manifest = await putLayers(writer, [1, 2]);
    await expect(writer.commit(sampleManifest(sampleIdentity("other"), manifest.layers))).rejects.toThrow(RangeError);
    await expect(writer.commit({ ...manifest, nextPosition: 1 })).rejects.toThrow("nextPosition");
    expect(await writer.commit(manifest)).toMatchObject({ created: true });
  });

  test("refuses when a part it names is gone from the store or was cut", async () => {
    const writer = openRecordWriter(store, contextId);
    const manifest = await putLayers(writer, [1, 2]);
    const key = partKey(contextId, manifest.layers[0]!.parts[0]!.sha256);
    await store.put(key, Uint8Array.of(1));
    await expect(writer.commit(manifest)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", retryable: true });
    await store.delete(key);
    await expect(writer.commit(manifest)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
    expect(await store.stat(manifestKey(contextId))).toBeUndefined();
  });

  test("replaces a damaged manifest, which nobody can use", async () => {
    await store.put(manifestKey(contextId), new TextEncoder().encode("{"));
    const writer = openRecordWriter(store, contextId);
    const manifest = await putLayers(writer, [1, 2]);
    expect(await writer.commit(manifest)).toMatchObject({ created: true });
    expect(await readManifest(store, contextId)).toEqual(manifest);
  });

  test("leaves a manifest of another version alone", async () => {
    const other = new TextEncoder().encode('{"schema":"kvault.context/9"}');
    await store.put(manifestKey(contextId), other);
    const writer = openRecordWriter(store, contextId);
    const manifest = await putLayers(writer, [1, 2]);
    await expect(writer.commit(manifest)).rejects.toMatchObject({ code: "INCOMPATIBLE_FORMAT" });
    await writer.abandon();
    expect(await store.get(manifestKey(contextId))).toEqual(other);
  });

  test("ends the writer", async () => {
    const writer = openRecordWriter(store, contextId);
    const manifest = await putLayers(writer, [1, 2]);
    await writer.commit(manifest);
    await expect(writer.putPart(samplePart(1).bytes)).rejects.toMatchObject({ code: "CLOSED" });
    await expect(writer.commit(manifest)).rejects.toMatchObject({ code: "CLOSED" });
    await writer.abandon();
    expect(await keysOf(store)).toHaveLength(3);
  });
});

describe("RecordWriter.abandon()", () => {
  const full = new KvaultError("STORE_FULL", "planned");

  test.each([1, 2, 3])("leaves nothing when the disk is full at put %i of three", async (call) => {
    const writer = openRecordWriter(faultyStore(store, [{ on: "put", call, effect: "fail", error: full }]), contextId);
    await expect(putLayers(writer, [1, 2]).then((manifest) => writer.commit(manifest))).rejects.toBe(full);
    expect(await store.stat(manifestKey(contextId))).toBeUndefined();
    await writer.abandon();
    await writer.abandon();
    expect(await keysOf(store)).toEqual([]);
  });

  test("can be tried again after a failure", async () => {
    const error = new KvaultError("STORE_UNAVAILABLE", "planned");
    const writer = openRecordWriter(faultyStore(store, [{ on: "delete", call: 1, effect: "fail", error }]), contextId);
    await putLayers(writer, [1, 2]);
    await expect(writer.abandon()).rejects.toBe(error);
    await writer.abandon();
    expect(await keysOf(store)).toEqual([]);
  });

  test("waits for a put under way and removes it too", async () => {
    let release = (): void => undefined;
    const until = new Promise<void>((resolve) => {
      release = resolve;
    });
    const writer = openRecordWriter(faultyStore(store, [{ on: "put", effect: "delay", until }]), contextId);
    const putting = writer.putPart(samplePart(1).bytes);
    const abandoning = writer.abandon();
    release();
    await Promise.all([putting, abandoning]);
    expect(await keysOf(store)).toEqual([]);
  });

  test("spares the parts of a record that another writer committed", async () => {
    const [first, other] = [openRecordWriter(store, contextId), openRecordWriter(store, contextId)];
    await putLayers(other, [1, 2]);
    const manifest = await putLayers(first, [1, 2]);
    await first.commit(manifest);
    await other.abandon();
    for (const ref of manifest.layers.flatMap(({ parts }) => parts)) await readPart(store, contextId, ref);
  });

  test.each(["before", "after"])("spares a part that another builder put %s it and has not committed yet", async (when) => {
    const [leaving, staying] = [openRecordWriter(store, contextId), openRecordWriter(store, contextId)];
    if (when === "before") await staying.putPart(samplePart(1).bytes);
    await leaving.putPart(samplePart(1).bytes);
    const manifest = await putLayers(staying, [1, 2]);
    await leaving.abandon();
    expect(await staying.commit(manifest)).toMatchObject({ created: true });
  });

  test("spares everything when the manifest that is there cannot be read", async () => {
    const writer = openRecordWriter(store, contextId);
    await putLayers(writer, [1, 2]);
    await store.put(manifestKey(contextId), new TextEncoder().encode("{"));
    await writer.abandon();
    expect(await keysOf(store)).toHaveLength(3);
  });
});
