import { describe, expect, test } from "vitest";
import { type FindContext, ResidentContexts } from "./contexts.ts";
import type { LoadRequest } from "./types.ts";

const request = (contextId: string, digest = `digest of ${contextId}`): LoadRequest => ({ contextId, digest, model: "toy" });

/** Every context takes 100 bytes of memory and 10 of the store. */
function contextsOf(budgetBytes: number, options: { lost?: string[]; read?: () => Promise<void> } = {}) {
  const reads: string[] = [];
  const find: FindContext = async ({ contextId, digest, model }) => ({
    bytes: 100,
    async read() {
      reads.push(contextId);
      await options.read?.();
      return {
        contextId,
        digest,
        model,
        contextTokens: 5,
        resident: { nextPosition: 5, keptPairs: 5, bytes: 100 },
        storedBytes: 10,
      };
    },
  });
  return { reads, contexts: new ResidentContexts({ budgetBytes, find, lostContextIds: options.lost ?? [] }) };
}

describe("ResidentContexts", () => {
  test("reads a context once for all who ask at the same time; only one of them is told the bytes", async () => {
    const { contexts, reads } = contextsOf(1_000);
    const leases = await Promise.all([1, 2, 3].map(() => contexts.acquire(request("a"))));
    expect(reads).toEqual(["a"]);
    expect(leases.map(({ cache }) => cache.bytesLoaded)).toEqual([10, 0, 0]);
    for (const { cache } of leases) expect(cache).toMatchObject({ tier: "store", reason: "FIRST_USE" });
    expect((await contexts.acquire(request("a"))).cache).toEqual({ tier: "memory", reason: "RESIDENT", bytesLoaded: 0 });
  });

  test("counts an evicted context as long as it is read, and remembers why it went", async () => {
    const { contexts } = contextsOf(150);
    const lease = await contexts.acquire(request("a"));
    expect(contexts.evict("a")).toBe(true);
    expect(contexts.evict("a")).toBe(false);
    expect(contexts).toMatchObject({ ids: [], bytes: 100 });
    await expect(contexts.acquire(request("b"))).rejects.toMatchObject({ code: "NO_CAPACITY", retryable: true });
    lease.release();
    lease.release();
    expect(contexts.bytes).toBe(0);
    expect((await contexts.acquire(request("a"))).cache.reason).toBe("EVICTED");
  });

  test("never evicts what is read, and nothing at all when that would not make room", async () => {
    const { contexts } = contextsOf(250);
    const reading = await contexts.acquire(request("a"));
    const alsoReading = await contexts.acquire(request("b"));
    await expect(contexts.acquire(request("c"))).rejects.toMatchObject({ code: "NO_CAPACITY" });
    expect(contexts.ids).toEqual(["a", "b"]);
    alsoReading.release();
    await contexts.acquire(request("c"));
    expect(contexts.ids).toEqual(["a", "c"]);
    reading.release();
  });

  test("reserves the bytes of a load before it starts: the budget holds while many load at once", async () => {
    let finish: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const { contexts, reads } = contextsOf(250, { read: () => gate });
    const loads = ["a", "b", "c", "d"].map((id) => contexts.acquire(request(id)));
    const outcomes = Promise.allSettled(loads);
    await Promise.resolve();
    finish();
    expect((await outcomes).map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "rejected"]);
    expect(reads).toEqual(["a", "b"]);
    expect(contexts.bytes).toBe(200);
  });

  test("gives the reservation back when a load fails", async () => {
    let fail = true;
    const { contexts } = contextsOf(100, {
      read: async () => {
        if (fail) throw new Error("disk");
      },
    });
    await expect(contexts.acquire(request("a"))).rejects.toThrow("disk");
    fail = false;
    await contexts.acquire(request("a"));
    expect(contexts.bytes).toBe(100);
  });

  test("refuses a resident context when another digest is asked for, naming the field", async () => {
    const { contexts } = contextsOf(1_000);
    await contexts.acquire(request("a"));
    await expect(contexts.acquire(request("a", "other"))).rejects.toMatchObject({
      code: "INCOMPATIBLE_MODEL",
      details: { field: "digest", expected: "other", found: "digest of a" },
    });
  });

  test("one waiter that leaves does not stop the load of the others", async () => {
    let finish: () => void = () => undefined;
    const { contexts } = contextsOf(1_000, {
      read: () =>
        new Promise((resolve) => {
          finish = resolve;
        }),
    });
    const controller = new AbortController();
    const leaving = contexts.acquire(request("a"), controller.signal);
    const staying = contexts.acquire(request("a"));
    await Promise.resolve();
    controller.abort();
    await expect(leaving).rejects.toMatchObject({ code: "CANCELLED" });
    finish();
    expect((await staying).context.contextId).toBe("a");
  });

  test("tells that a context was lost with the process before, once", async () => {
    const { contexts } = contextsOf(1_000, { lost: ["a"] });
    expect((await contexts.acquire(request("a"))).cache.reason).toBe("ENGINE_RESTARTED");
    contexts.evict("a");
    expect((await contexts.acquire(request("a"))).cache.reason).toBe("EVICTED");
    expect((await contexts.acquire(request("b"))).cache.reason).toBe("FIRST_USE");
  });
});
