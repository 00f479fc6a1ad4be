import { failureOf } from "@kvault/core/testing";
import { describe, expect, test } from "vitest";
import { openMemoryStore } from "./backends/memory.ts";
import { collectGarbage } from "./collect-garbage.ts";
import { takeRequestId } from "./request-ids.ts";

const [A, B] = ["a".repeat(64), "b".repeat(64)];

describe("takeRequestId()", () => {
  test("is true for the first of many, false for the same again, REQUEST_ID_REUSED for another request", async () => {
    const store = openMemoryStore();
    const taken = await Promise.all(Array.from({ length: 10 }, () => takeRequestId(store, "acme", "id", A)));
    expect(taken.filter(Boolean)).toHaveLength(1);
    expect(await failureOf(takeRequestId(store, "acme", "id", B))).toMatchObject({
      code: "REQUEST_ID_REUSED",
      details: { field: "request_id" },
    });
    expect(await takeRequestId(store, "other", "id", B)).toBe(true);
  });

  test("puts no id into the store in the clear, and what it put is collected when it is old", async () => {
    const store = openMemoryStore();
    await takeRequestId(store, "acme", "a-customer's-id", A);
    for await (const key of store.list("")) {
      expect(key).not.toContain("customer");
      expect(Buffer.from(await store.get(key)).toString()).not.toContain("customer");
    }
    expect((await collectGarbage(store, { graceMs: 1_000 })).removedRequests).toBe(0);
    expect((await collectGarbage(store, { graceMs: 1_000, nowMs: Date.now() + 2_000 })).removedRequests).toBe(1);
    expect(await takeRequestId(store, "acme", "a-customer's-id", B)).toBe(true);
  });
});
