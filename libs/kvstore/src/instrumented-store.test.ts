import { expect, test } from "vitest";
import { openMemoryStore } from "./backends/memory.ts";
import { instrumentedStore, type StoreCall } from "./instrumented-store.ts";
import { blobStoreConformance } from "./testing/conformance.ts";

blobStoreConformance("an instrumented store around memory", {
  open: async () => instrumentedStore(openMemoryStore(), () => undefined),
});

test("instrumentedStore() tells operation, key, bytes, time and outcome of every call", async () => {
  const calls: StoreCall[] = [];
  const store = instrumentedStore(openMemoryStore(), (call) => calls.push(call));
  await store.put("a.bin", new Uint8Array(10));
  await store.get("a.bin");
  await store.get("b.bin").catch(() => undefined);
  await store.stat("a.bin");
  await store.stat("b.bin");
  await store.put("a.bin", new Uint8Array(3), { ifAbsent: true }).catch(() => undefined);
  for await (const _ of store.list("")) break;
  await store.delete("a.bin");
  await store.close();
  await store.get("a.bin").catch(() => undefined);
  expect(calls.map(({ operation, key, bytes, outcome }) => [operation, key, bytes, outcome])).toEqual([
    ["put", "a.bin", 10, "ok"],
    ["get", "a.bin", 10, "ok"],
    ["get", "b.bin", 0, "missing"],
    ["stat", "a.bin", 0, "ok"],
    ["stat", "b.bin", 0, "missing"],
    ["put", "a.bin", 0, "STORE_EXISTS"],
    ["list", "", 0, "ok"],
    ["delete", "a.bin", 0, "ok"],
    ["get", "a.bin", 0, "CLOSED"],
  ]);
  expect(calls.every(({ seconds }) => seconds >= 0 && seconds < 5)).toBe(true);
});
