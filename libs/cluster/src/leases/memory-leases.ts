/**
 * Leases among the services of one process.
 *
 * @module
 */
import { HeldLease, type LeaseBackend } from "./held-lease.ts";
import type { Lease, Leases } from "./leases.ts";

interface Holder {
  readonly token: number;
  endMs: number;
}

export class MemoryLeases implements Leases, LeaseBackend {
  readonly #holders = new Map<string, Holder>();
  /** Per name, when each read lease runs out. */
  readonly #readers = new Map<string, Map<symbol, number>>();
  readonly #held = new Set<HeldLease>();
  #lastToken = 0;

  async acquire(name: string, { ttlMs }: { readonly ttlMs: number }): Promise<Lease | undefined> {
    const nowMs = performance.now();
    if ((this.#holders.get(name)?.endMs ?? 0) > nowMs) return undefined;
    const token = ++this.#lastToken;
    this.#holders.set(name, { token, endMs: nowMs + ttlMs });
    const lease = new HeldLease(this, name, token, ttlMs, nowMs);
    this.#held.add(lease);
    return lease;
  }

  async renew(name: string, token: number, ttlMs: number): Promise<boolean> {
    const holder = this.#holders.get(name);
    const nowMs = performance.now();
    if (holder?.token !== token || holder.endMs <= nowMs) return false;
    holder.endMs = nowMs + ttlMs;
    return true;
  }

  async release(name: string, token: number): Promise<void> {
    if (this.#holders.get(name)?.token === token) this.#holders.delete(name);
    for (const lease of this.#held) if (lease.token === token) this.#held.delete(lease);
  }

  async read(name: string, { ttlMs }: { readonly ttlMs: number }): Promise<() => Promise<void>> {
    const readers = this.#readers.get(name) ?? new Map<symbol, number>();
    const reader = Symbol(name);
    this.#readers.set(name, readers.set(reader, performance.now() + ttlMs));
    return async () => {
      readers.delete(reader);
      if (readers.size === 0) this.#readers.delete(name);
    };
  }

  async readers(name: string): Promise<number> {
    const nowMs = performance.now();
    return [...(this.#readers.get(name)?.values() ?? [])].filter((endMs) => endMs > nowMs).length;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#held].map((lease) => lease.release()));
  }
}
