import { KvaultError } from "@kvault/core";
import { beforeEach, describe, expect, test } from "vitest";
import { openMemoryStore } from "./backends/memory.ts";
import type { BlobStore } from "./blob-store.ts";
import { type CircuitState, circuitBreaker } from "./circuit-breaker.ts";
import { blobStoreConformance } from "./testing/conformance.ts";
import { faultyStore } from "./testing/faulty-store.ts";

blobStoreConformance("a circuit breaker around memory", { open: async () => circuitBreaker(openMemoryStore()) });

const down = new KvaultError("STORE_UNAVAILABLE", "Cannot reach the store");

/** Fails or not as `mode` says, and counts what reaches it. */
class Switch {
  mode: "up" | "down" | "forbidden" | "hang" = "up";
  calls = 0;
  release: () => void = () => undefined;
  readonly store: BlobStore = {
    ...openMemoryStore(),
    abilities: { durable: false, shared: false },
    get: async (_key, options) => {
      this.calls++;
      const { mode } = this;
      if (mode === "hang") {
        await new Promise<void>((resolve, reject) => {
          this.release = resolve;
          options?.signal?.addEventListener("abort", () => reject(new KvaultError("CANCELLED", "Request was cancelled")));
        });
      }
      if (mode === "down") throw down;
      if (mode === "forbidden") throw new KvaultError("STORE_FORBIDDEN", "Cannot get: forbidden");
      return Uint8Array.of(1);
    },
  };
}

describe("circuitBreaker()", () => {
  let nowMs = 0;
  let inner: Switch;
  let store: BlobStore;
  let states: CircuitState[];
  const get = (signal?: AbortSignal): Promise<string> =>
    store.get("a.bin", { signal }).then(
      () => "ok",
      (error: KvaultError) =>
        error.details["breaker"] === undefined ? error.code : `refused, ${error.details["retryAfterMs"]} ms`,
    );

  beforeEach(() => {
    nowMs = 1_000;
    inner = new Switch();
    states = [];
    store = circuitBreaker(inner.store, { now: () => nowMs, onState: (state) => states.push(state) });
  });

  async function open(): Promise<void> {
    inner.mode = "down";
    for (let i = 0; i < 3; i++) expect(await get()).toBe("STORE_UNAVAILABLE");
  }

  test("opens after three failures in a row and asks no more", async () => {
    await open();
    expect(await get()).toBe("refused, 5000 ms");
    expect(inner.calls).toBe(3);
    expect(states).toEqual(["open"]);
  });

  test("does not open on two failures with a success between, or on answers that are not failures", async () => {
    for (const mode of ["down", "down", "up", "down", "down", "forbidden", "down", "down"] as const) {
      inner.mode = mode;
      await get();
    }
    expect(states).toEqual([]);
  });

  test("lets one probe through after the wait, and closes when it succeeds", async () => {
    await open();
    nowMs += 5_000;
    inner.mode = "hang";
    const probe = get();
    expect(await get()).toBe("refused, 0 ms");
    inner.mode = "up";
    inner.release();
    expect(await probe).toBe("ok");
    expect(await get()).toBe("ok");
    expect(states).toEqual(["open", "half-open", "closed"]);
  });

  test("doubles the wait with each failed probe up to 300 s, and starts over once closed", async () => {
    await open();
    const waits: number[] = [];
    for (let i = 0; i < 8; i++) {
      const [, ms] = /(\d+) ms/.exec(await get()) ?? [];
      waits.push(Number(ms));
      nowMs += Number(ms);
      expect(await get()).toBe("STORE_UNAVAILABLE");
    }
    expect(waits).toEqual([5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    nowMs += 300_000;
    inner.mode = "up";
    expect(await get()).toBe("ok");
    await open();
    expect(await get()).toBe("refused, 5000 ms");
  });

  test("takes a cancelled probe for no answer: the next call is the probe", async () => {
    await open();
    nowMs += 5_000;
    inner.mode = "hang";
    const controller = new AbortController();
    const probe = get(controller.signal);
    controller.abort();
    expect(await probe).toBe("CANCELLED");
    inner.mode = "up";
    expect(await get()).toBe("ok");
  });

  test("ignores the end of calls that began in an earlier state", async () => {
    inner.mode = "hang";
    const early = get();
    const release = inner.release;
    await open();
    release();
    expect(await early).toBe("ok");
    expect(await get()).toBe("refused, 5000 ms");
  });

  test("guards every operation, listing included", async () => {
    const failing = faultyStore(openMemoryStore(), [
      { on: "put", effect: "fail", error: down },
      { on: "stat", effect: "fail", error: down },
      { on: "delete", effect: "fail", error: down },
    ]);
    store = circuitBreaker(failing, { now: () => nowMs });
    await expect(store.put("a.bin", Uint8Array.of(1))).rejects.toBe(down);
    await expect(store.stat("a.bin")).rejects.toBe(down);
    await expect(store.delete("a.bin")).rejects.toBe(down);
    const listing = store.list("")[Symbol.asyncIterator]();
    await expect(listing.next()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", details: { breaker: "open" } });
  });
});
