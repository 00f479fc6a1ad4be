/**
 * The life of a lease that is held: renewed a few times within its length, lost when that failed
 * for the whole of it, released once.
 *
 * @module
 */
import { isKvaultError, KvaultError } from "@kvault/core";
import { count } from "@kvault/telemetry";
import { type Lease, RENEWALS_PER_LEASE } from "./leases.ts";

export interface LeaseBackend {
  /** Makes the lease last `ttlMs` from now; false when `token` does not hold it. */
  renew(name: string, token: number, ttlMs: number): Promise<boolean>;
  release(name: string, token: number): Promise<void>;
}

export class HeldLease implements Lease {
  readonly name: string;
  readonly token: number;
  readonly #backend: LeaseBackend;
  readonly #ttlMs: number;
  readonly #controller = new AbortController();
  readonly #timer: NodeJS.Timeout;
  #endMs: number;
  #released: Promise<void> | undefined;

  /** `askedMs`: when the lease was asked for, by performance.now(): it may have begun then. */
  constructor(backend: LeaseBackend, name: string, token: number, ttlMs: number, askedMs: number) {
    this.name = name;
    this.token = token;
    this.#backend = backend;
    this.#ttlMs = ttlMs;
    this.#endMs = askedMs + ttlMs;
    this.#timer = setInterval(() => void this.#renew().catch(() => undefined), ttlMs / RENEWALS_PER_LEASE);
    this.#timer.unref();
  }

  get lost(): AbortSignal {
    return this.#controller.signal;
  }

  async check(): Promise<void> {
    await this.#renew();
    if (this.lost.aborted) throw this.lost.reason;
  }

  release(): Promise<void> {
    clearInterval(this.#timer);
    // One that cannot be told runs out by itself.
    this.#released ??= this.#backend.release(this.name, this.token).catch(() => undefined);
    return this.#released;
  }

  async #renew(): Promise<void> {
    if (this.lost.aborted) return;
    const askedMs = performance.now();
    try {
      if (this.#released === undefined && (await this.#backend.renew(this.name, this.token, this.#ttlMs))) {
        this.#endMs = askedMs + this.#ttlMs;
      } else {
        this.#lose("it is no longer held");
      }
    } catch (error) {
      if (performance.now() >= this.#endMs || isKvaultError(error, "CLOSED")) this.#lose("it could not be renewed in time");
      throw error;
    }
  }

  #lose(why: string): void {
    clearInterval(this.#timer);
    count("kvault_lease_lost_total");
    const details = { lease: this.name, token: this.token };
    this.#controller.abort(new KvaultError("ENGINE_DIED", `Cannot go on under lease "${this.name}": ${why}`, { details }));
  }
}
