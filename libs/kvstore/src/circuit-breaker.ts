/**
 * A store that stops asking a store that is down, so that callers learn at once what they
 * would otherwise learn after a deadline each.
 *
 *     closed ── 3 × STORE_UNAVAILABLE in a row ──► open ── 5 s, doubling to 300 s ──► half-open
 *       ▲                                           ▲                                    │
 *       └───────────── the probe succeeds ──────────┼──────── the probe fails ───────────┘
 *
 * Half-open lets one call through, the probe. Only STORE_UNAVAILABLE counts as a failure; any
 * answer of the store, "no such key" included, is a success; what the caller itself cut short
 * says nothing. Calls that began before the circuit opened or closed do not count either.
 *
 * @module
 */
import { isKvaultError, KvaultError } from "@kvault/core";
import type { BlobStat, BlobStore, CallOptions, PutOptions, StoreAbilities } from "./blob-store.ts";

export type CircuitState = "closed" | "open" | "half-open";

export interface CircuitBreakerOptions {
  /** Failures in a row that open the circuit; 3. */
  readonly maxFailures?: number;
  /** How long the circuit stays open the first time; 5 s. Doubles with each failed probe. */
  readonly openMs?: number;
  /** Longest; 300 s. */
  readonly maxOpenMs?: number;
  /** A steady clock, milliseconds. */
  readonly now?: () => number;
  /** Told of every change. */
  readonly onState?: (state: CircuitState) => void;
}

/** `store` behind a circuit breaker: while it is open, calls are STORE_UNAVAILABLE with `retryAfterMs`. Closing it closes `store`. */
export function circuitBreaker(store: BlobStore, options: CircuitBreakerOptions = {}): BlobStore {
  return new CircuitBreaker(store, options);
}

class CircuitBreaker implements BlobStore {
  readonly #store: BlobStore;
  readonly #options: Required<CircuitBreakerOptions>;
  #state: CircuitState = "closed";
  /** Counts changes of state: a call of an earlier one is not evidence about this one. */
  #epoch = 0;
  #failures = 0;
  #openMs: number;
  #openUntilMs = 0;

  constructor(store: BlobStore, options: CircuitBreakerOptions) {
    this.#store = store;
    this.#options = {
      maxFailures: 3,
      openMs: 5_000,
      maxOpenMs: 300_000,
      now: () => performance.now(),
      onState: () => undefined,
      ...options,
    };
    this.#openMs = this.#options.openMs;
  }

  get abilities(): StoreAbilities {
    return this.#store.abilities;
  }

  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<void> {
    return this.#guard(`put "${key}"`, () => this.#store.put(key, bytes, options));
  }

  get(key: string, options?: CallOptions): Promise<Uint8Array> {
    return this.#guard(`get "${key}"`, () => this.#store.get(key, options));
  }

  stat(key: string, options?: CallOptions): Promise<BlobStat | undefined> {
    return this.#guard(`stat "${key}"`, () => this.#store.stat(key, options));
  }

  delete(key: string, options?: CallOptions): Promise<void> {
    return this.#guard(`delete "${key}"`, () => this.#store.delete(key, options));
  }

  async *list(prefix: string, options?: CallOptions): AsyncGenerator<string> {
    const keys = this.#store.list(prefix, options)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await this.#guard(`list "${prefix}"`, () => keys.next());
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      await keys.return?.();
    }
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #guard<T>(what: string, call: () => Promise<T>): Promise<T> {
    this.#admit(what);
    const epoch = this.#epoch;
    try {
      const result = await call();
      if (epoch === this.#epoch) this.#succeeded();
      return result;
    } catch (error) {
      if (epoch === this.#epoch) this.#judge(error);
      throw error;
    }
  }

  #admit(what: string): void {
    if (this.#state === "closed") return;
    const waitMs = Math.ceil(this.#openUntilMs - this.#options.now());
    if (this.#state === "open" && waitMs <= 0) {
      this.#become("half-open");
      return;
    }
    const until = this.#state === "open" ? `tried again in ${waitMs} ms` : "being tried";
    const details = { breaker: this.#state, retryAfterMs: Math.max(0, waitMs) };
    throw new KvaultError("STORE_UNAVAILABLE", `Cannot ${what}: the store did not answer of late and is ${until}`, { details });
  }

  #judge(error: unknown): void {
    if (isKvaultError(error, "STORE_UNAVAILABLE")) this.#failed();
    else if (!isKvaultError(error, "CANCELLED", "DEADLINE_EXCEEDED", "CLOSED")) this.#succeeded();
    // A probe that was cut short says nothing: the next call is the probe.
    else if (this.#state === "half-open") this.#become("open");
  }

  #succeeded(): void {
    this.#failures = 0;
    this.#openMs = this.#options.openMs;
    if (this.#state !== "closed") this.#become("closed");
  }

  #failed(): void {
    const probe = this.#state === "half-open";
    if (!probe && ++this.#failures < this.#options.maxFailures) return;
    if (probe) this.#openMs = Math.min(this.#openMs * 2, this.#options.maxOpenMs);
    this.#openUntilMs = this.#options.now() + this.#openMs;
    this.#become("open");
  }

  #become(state: CircuitState): void {
    this.#state = state;
    this.#epoch++;
    this.#failures = 0;
    this.#options.onState(state);
  }
}
