import { beforeEach, describe, expect, test } from "vitest";
import { openMemoryStore } from "./backends/memory.ts";
import type { BlobStore } from "./blob-store.ts";
import { contextDigest, contextIdOf } from "./identity.ts";
import { readPart } from "./record.ts";
import { manifestKey, partKey } from "./record-layout.ts";
import { openRecordWriter } from "./record-writer.ts";
import { sweepOrphans } from "./sweep.ts";
import { publishSample, sampleIdentity, samplePart } from "./testing/sample-record.ts";

let nowMs: number;
let store: BlobStore;
beforeEach(() => {
  nowMs = 0;
  store = openMemoryStore(() => nowMs);
});

const graceMs = 1000;
const idOf = (text: string): string => contextIdOf(contextDigest(sampleIdentity(text)));

describe("sweepOrphans()", () => {
  test("removes old parts without a manifest, of every context", async () => {
    const sizes = [];
    for (const text of ["a", "b", "c"]) {
      for (const seed of [1, 2]) sizes.push((await openRecordWriter(store, idOf(text)).putPart(samplePart(seed).bytes)).bytes);
    }
    const report = await sweepOrphans(store, { graceMs, nowMs: 2000 });
    expect(report).toEqual({ removedParts: 6, removedBytes: sizes.reduce((sum, bytes) => sum + bytes) });
    expect((await store.list("")[Symbol.asyncIterator]().next()).done).toBe(true);
  });

  test("leaves young parts to their builder, and renewed ones", async () => {
    await openRecordWriter(store, idOf("a")).putPart(samplePart(1).bytes);
    const renewed = samplePart(2).bytes;
    await openRecordWriter(store, idOf("a")).putPart(renewed);
    nowMs = 1500;
    const ref = await openRecordWriter(store, idOf("a")).putPart(renewed);
    expect(await sweepOrphans(store, { graceMs, nowMs: 2000 })).toMatchObject({ removedParts: 1 });
    expect(await readPart(store, idOf("a"), ref)).toEqual(renewed);
  });

  test("keeps what a manifest names and removes what lies beside it", async () => {
    const stray = await openRecordWriter(store, idOf("a")).putPart(samplePart(99).bytes);
    const manifest = await publishSample(store, "a");
    expect(await sweepOrphans(store, { graceMs, nowMs: 5000 })).toEqual({ removedParts: 1, removedBytes: stray.bytes });
    for (const ref of manifest.layers.flatMap(({ parts }) => parts)) await readPart(store, manifest.contextId, ref);
    expect(await store.stat(partKey(manifest.contextId, stray.sha256))).toBeUndefined();
  });

  test("keeps and reports everything of a context whose manifest cannot be read", async () => {
    const { contextId } = await publishSample(store, "a");
    await store.put(manifestKey(contextId), new TextEncoder().encode("{"));
    const broken: string[] = [];
    expect(await sweepOrphans(store, { graceMs, nowMs: 5000, onBroken: (id) => broken.push(id) })).toMatchObject({
      removedParts: 0,
    });
    expect(broken).toEqual([contextId]);
  });

  test("removes nothing whose age the backend cannot tell", async () => {
    await openRecordWriter(store, idOf("a")).putPart(samplePart(1).bytes);
    const ageless: BlobStore = Object.assign(Object.create(store) as BlobStore, {
      stat: async (key: string) => ({ bytes: (await store.stat(key))?.bytes ?? 0 }),
      list: (prefix: string) => store.list(prefix),
    });
    expect(await sweepOrphans(ageless, { graceMs, nowMs: 5000 })).toEqual({ removedParts: 0, removedBytes: 0 });
  });

  test("leaves keys of others alone", async () => {
    await store.put("v1/contexts/other/parts/x.safetensors", Uint8Array.of(1));
    await store.put("else/x.bin", Uint8Array.of(1));
    expect(await sweepOrphans(store, { graceMs, nowMs: 5000 })).toMatchObject({ removedParts: 0 });
  });
});
