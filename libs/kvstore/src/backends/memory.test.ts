import { describe, expect, test } from "vitest";
import { blobStoreConformance } from "../testing/conformance.ts";
import { openMemoryStore } from "./memory.ts";

blobStoreConformance("memory", { open: async () => openMemoryStore() });

describe("openMemoryStore()", () => {
  test("gives ages by the clock it was given", async () => {
    let nowMs = 5;
    const store = openMemoryStore(() => nowMs);
    await store.put("a.bin", Uint8Array.of(1));
    nowMs = 7;
    expect(await store.stat("a.bin")).toEqual({ bytes: 1, modifiedMs: 5 });
  });

  test("shares nothing between openings", async () => {
    const store = openMemoryStore();
    await store.put("a.bin", Uint8Array.of(1));
    expect(await openMemoryStore().stat("a.bin")).toBeUndefined();
  });
});
