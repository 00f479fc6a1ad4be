import { describe, expect, test } from "vitest";
import { openMemoryStore } from "../backends/memory.ts";
import { blobStoreConformance } from "./conformance.ts";
import { faultyStore } from "./faulty-store.ts";

blobStoreConformance("a faulty store without faults", { open: async () => faultyStore(openMemoryStore(), []) });

describe("faultyStore()", () => {
  const value = Uint8Array.of(0, 0, 0);

  test("fails exactly the planned call, of the planned keys", async () => {
    const error = new Error("planned");
    const store = faultyStore(openMemoryStore(), [{ on: "put", call: 2, keyEnd: ".x", effect: "fail", error }]);
    await store.put("a.x", value);
    await store.put("b.y", value);
    await expect(store.put("c.x", value)).rejects.toBe(error);
    await store.put("d.x", value);
    expect(await store.stat("c.x")).toBeUndefined();
  });

  test("truncates and flips what is put or got, silently", async () => {
    const inner = openMemoryStore();
    const putting = faultyStore(inner, [{ on: "put", call: 1, effect: "truncate", bytes: 2 }]);
    await putting.put("a.x", value);
    expect(await inner.get("a.x")).toEqual(value.slice(0, 2));
    const getting = faultyStore(inner, [{ on: "get", call: 1, effect: "flip-bit", bit: 9 }]);
    expect(await getting.get("a.x")).toEqual(Uint8Array.of(0, 2));
    expect(await getting.get("a.x")).toEqual(Uint8Array.of(0, 0));
    expect(value).toEqual(Uint8Array.of(0, 0, 0));
  });

  test("refuses to flip a bit that is not there, so a test cannot pass by accident", async () => {
    const store = faultyStore(openMemoryStore(), [{ on: "put", effect: "flip-bit", bit: 24 }]);
    await expect(store.put("a.x", value)).rejects.toThrow(RangeError);
  });
});
