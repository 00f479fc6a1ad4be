import { failureOf } from "@kvault/core/testing";
import { describe, expect, test } from "vitest";
import { openMemoryStore } from "./backends/memory.ts";
import { deleteBuildRequest, putBuildRequest, readBuildRequest } from "./build-request.ts";

const IDS = { contextId: `c${"0".repeat(32)}`, buildId: "1-2" };
const BYTES = new TextEncoder().encode("the text");

describe("readBuildRequest()", () => {
  test("gives what was put", async () => {
    const store = openMemoryStore();
    const ref = await putBuildRequest(store, IDS, BYTES);
    expect(await readBuildRequest(store, ref)).toEqual(BYTES);
  });

  test("tells gone from damaged", async () => {
    const store = openMemoryStore();
    const ref = await putBuildRequest(store, IDS, BYTES);
    await store.put(ref.key, Buffer.from("other"));
    expect((await failureOf(readBuildRequest(store, ref))).code).toBe("CACHE_CORRUPT");
    await deleteBuildRequest(store, IDS);
    await deleteBuildRequest(store, IDS);
    expect((await failureOf(readBuildRequest(store, ref))).code).toBe("CONTEXT_NOT_FOUND");
  });

  test("reads nothing but build requests", async () => {
    const ref = { key: "v1/contexts/c0/manifest.json", sha256: "", bytes: 0 };
    expect((await failureOf(readBuildRequest(openMemoryStore(), ref))).code).toBe("INVALID_ARGUMENT");
  });
});
