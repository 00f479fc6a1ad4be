import { describe, expect, test } from "vitest";
import { openMemoryStore } from "./backends/memory.ts";
import { MAX_VALUE_BYTES } from "./blob-store.ts";

describe("checkedStore()", () => {
  test("refuses values over the limit before the backend sees them", async () => {
    const bytes = new Uint8Array(new ArrayBuffer(MAX_VALUE_BYTES + 1)); // never touched, so never resident
    await expect(openMemoryStore().put("a.bin", bytes)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { key: "a.bin" },
    });
  });

  test("refuses what is not bytes as a mistake of the program", async () => {
    const notBytes = "text" as unknown as Uint8Array;
    await expect(openMemoryStore().put("a.bin", notBytes)).rejects.toThrow(TypeError);
  });

  test("stops a listing when the store closes or the signal aborts between keys", async () => {
    for (const stop of ["close", "abort"]) {
      const store = openMemoryStore();
      await store.put("a.bin", Uint8Array.of(1));
      await store.put("b.bin", Uint8Array.of(1));
      const controller = new AbortController();
      const keys = store.list("", { signal: controller.signal })[Symbol.asyncIterator]();
      await keys.next();
      if (stop === "close") await store.close();
      else controller.abort();
      await expect(keys.next()).rejects.toMatchObject({ code: stop === "close" ? "CLOSED" : "CANCELLED" });
    }
  });
});
