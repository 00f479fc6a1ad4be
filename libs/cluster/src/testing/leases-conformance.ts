/**
 * What every driver of leases must satisfy. `open` gives views of the same leases, as two
 * processes would have them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { KvaultError } from "@kvault/core";
import type { Leases } from "../leases/leases.ts";
import { waitForLease, waitForReaders } from "../leases/wait-for-lease.ts";
import { type ConformanceCheck, eventually } from "./check.ts";

const TTL_MS = 60_000;
const SHORT_MS = 60;
const PATIENCE_MS = 3_000;

export function leasesConformance(open: () => Promise<readonly [Leases, Leases]>): ConformanceCheck[] {
  const check = (name: string, body: (here: Leases, there: Leases) => Promise<void>): ConformanceCheck => ({
    name,
    run: async () => {
      const [here, there] = await open();
      try {
        await body(here, there);
      } finally {
        await Promise.all([here.close(), there.close()]);
      }
    },
  });

  return [
    check("acquire() of many at once gives the lease to one", async (here, there) => {
      const tries = Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? here : there).acquire("a", { ttlMs: TTL_MS }));
      const held = (await Promise.all(tries)).filter((lease) => lease !== undefined);
      assert.equal(held.length, 1);
      await held[0]?.check();
    }),

    check("a released lease is free at once, with a greater token", async (here, there) => {
      const first = await here.acquire("a", { ttlMs: TTL_MS });
      await first?.release();
      await first?.release();
      const second = await there.acquire("a", { ttlMs: TTL_MS });
      assert.ok(first !== undefined && second !== undefined && second.token > first.token);
      await first.release();
      await second.check();
    }),

    check("leases of other names do not matter", async (here, there) => {
      await here.acquire("a", { ttlMs: TTL_MS });
      assert.ok((await there.acquire("b", { ttlMs: TTL_MS })) !== undefined);
    }),

    check("a lease that is held outlives its length", async (here, there) => {
      const lease = await here.acquire("a", { ttlMs: SHORT_MS });
      await new Promise((resolve) => setTimeout(resolve, 3 * SHORT_MS));
      assert.equal(await there.acquire("a", { ttlMs: TTL_MS }), undefined);
      await lease?.check();
      assert.equal(lease?.lost.aborted, false);
    }),

    check("check() after the lease ended fails, and says so to whoever listens", async (here, there) => {
      const lease = await here.acquire("a", { ttlMs: TTL_MS });
      await lease?.release();
      await there.acquire("a", { ttlMs: TTL_MS });
      await assert.rejects(async () => lease?.check(), isLost);
      assert.ok(isLost(lease?.lost.reason));
    }),

    check("waitForLease() gets it when the holder lets go, and gives up in time", async (here, there) => {
      const lease = await here.acquire("a", { ttlMs: TTL_MS });
      await assert.rejects(waitForLease(there, "a", { ttlMs: TTL_MS, waitMs: 20 }), (error) => hasCode(error, "NO_CAPACITY"));
      const waiting = waitForLease(there, "a", { ttlMs: TTL_MS, waitMs: PATIENCE_MS });
      await lease?.release();
      await (await waiting).check();
    }),

    check("close() lets go of what is held", async (here, there) => {
      await here.acquire("a", { ttlMs: TTL_MS });
      await here.close();
      assert.ok((await there.acquire("a", { ttlMs: TTL_MS })) !== undefined);
    }),

    check("readers() counts those who read until they end or their time is over", async (here, there) => {
      assert.equal(await there.readers("a"), 0);
      const end = await here.read("a", { ttlMs: TTL_MS });
      await here.read("a", { ttlMs: SHORT_MS });
      const other = await there.read("b", { ttlMs: TTL_MS });
      assert.equal(await there.readers("a"), 2);
      await eventually(async () => (await there.readers("a")) === 1, PATIENCE_MS);
      assert.equal(await waitForReaders(there, "a", 1), false);
      await end();
      await end();
      assert.equal(await waitForReaders(there, "a", PATIENCE_MS), true);
      assert.equal(await here.readers("b"), 1);
      await other();
    }),
  ];
}

function isLost(error: unknown): boolean {
  return hasCode(error, "ENGINE_DIED");
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof KvaultError && error.code === code;
}
