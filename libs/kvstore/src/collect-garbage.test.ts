import { beforeEach, describe, expect, test } from "vitest";
import { openMemoryStore } from "./backends/memory.ts";
import type { BlobStore } from "./blob-store.ts";
import { putBuildRequest } from "./build-request.ts";
import { collectGarbage } from "./collect-garbage.ts";
import { openRecordWriter } from "./record-writer.ts";
import { publishSample, samplePart } from "./testing/sample-record.ts";

const ID = `c${"0".repeat(32)}`;
const OLD = { graceMs: 1_000, nowMs: 5_000 };

let store: BlobStore;
beforeEach(async () => {
  store = openMemoryStore(() => 0);
  await publishSample(store, "a");
  await openRecordWriter(store, ID).putPart(samplePart(1).bytes);
  await putBuildRequest(store, { contextId: ID, buildId: "1" }, Uint8Array.of(1, 2));
});

async function keys(): Promise<string[]> {
  const found: string[] = [];
  for await (const key of store.list("")) found.push(key);
  return found;
}

describe("collectGarbage()", () => {
  test("removes old parts and build requests that lead nowhere, and nothing else", async () => {
    const before = await keys();
    expect(await collectGarbage(store, OLD)).toMatchObject({ removedParts: 1, removedRequests: 1, removedRequestBytes: 2 });
    const after = await keys();
    expect(before.filter((key) => !after.includes(key)).every((key) => key.includes(ID))).toBe(true);
    expect(before.length - after.length).toBe(2);
  });

  test("with dryRun tells the same and removes nothing", async () => {
    const before = await keys();
    const told = await collectGarbage(store, { ...OLD, dryRun: true });
    expect(await keys()).toEqual(before);
    expect(await collectGarbage(store, OLD)).toEqual(told);
  });

  test("leaves what is young, and what is in use", async () => {
    const before = await keys();
    await collectGarbage(store, { graceMs: 10_000, nowMs: 5_000 });
    await collectGarbage(store, { ...OLD, isInUse: async (contextId) => contextId === ID });
    expect(await keys()).toEqual(before);
  });
});
