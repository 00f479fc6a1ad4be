import { isKvaultError } from "@kvault/core";
import { openMemoryStore } from "@kvault/kvstore";
import { blobStoreConformance } from "@kvault/kvstore/testing";
import { describe, expect, test } from "vitest";
import { openEncryptedStore } from "./encrypted-store.ts";

const SECRET = new Uint8Array(32).fill(7);

// docs:begin conformance
blobStoreConformance("encrypted", {
  open: async () => openEncryptedStore(openMemoryStore(), SECRET),
});
// docs:end conformance

describe("openEncryptedStore()", () => {
  test("refuses a changed value, a moved value and another secret with CACHE_CORRUPT", async () => {
    const inner = openMemoryStore();
    const store = openEncryptedStore(inner, SECRET);
    await store.put("a/value.bin", Uint8Array.of(1, 2, 3));
    const sealed = await inner.get("a/value.bin");
    expect([...sealed.subarray(28)]).not.toEqual([1, 2, 3]);
    await inner.put("a/moved.bin", sealed);
    await inner.put("a/changed.bin", sealed.with(30, (sealed[30] ?? 0) ^ 1));
    const other = openEncryptedStore(inner, new Uint8Array(32));
    for (const read of [store.get("a/moved.bin"), store.get("a/changed.bin"), other.get("a/value.bin")]) {
      await expect(read).rejects.toSatisfy((error) => isKvaultError(error, "CACHE_CORRUPT"));
    }
  });
});
