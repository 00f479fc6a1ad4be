/**
 * Waiting for a lease: the holder lets go, or dies and its lease runs out.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { KvaultError, throwIfAborted } from "@kvault/core";
import type { Lease, Leases } from "./leases.ts";

export interface WaitForLeaseOptions {
  readonly ttlMs: number;
  /** Longest wait. */
  readonly waitMs: number;
  readonly signal?: AbortSignal;
}

const LOOK_AGAIN_MS = 100;

/** The lease `name`; NO_CAPACITY when another one still holds it after `waitMs`. */
export async function waitForLease(leases: Leases, name: string, options: WaitForLeaseOptions): Promise<Lease> {
  const { ttlMs, waitMs, signal } = options;
  const giveUpMs = performance.now() + waitMs;
  for (;;) {
    throwIfAborted(signal);
    const lease = await leases.acquire(name, { ttlMs });
    if (lease !== undefined) return lease;
    if (performance.now() >= giveUpMs) {
      throw new KvaultError("NO_CAPACITY", `Cannot get lease "${name}": another one holds it for more than ${waitMs} ms`, {
        details: { lease: name },
      });
    }
    await sleep(LOOK_AGAIN_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** Resolves true when nobody reads `name` any more, false when somebody still did after `waitMs`. */
export async function waitForReaders(leases: Leases, name: string, waitMs: number): Promise<boolean> {
  const giveUpMs = performance.now() + waitMs;
  for (;;) {
    if ((await leases.readers(name)) === 0) return true;
    if (performance.now() >= giveUpMs) return false;
    await sleep(LOOK_AGAIN_MS);
  }
}
