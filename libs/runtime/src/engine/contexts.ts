/**
 * Contexts that are resident: which, how many bytes, and why one was not.
 *
 * The bytes counted are those held in memory, reserved before a load starts, and counted as
 * long as a query still reads a context that was evicted meanwhile: the sum never exceeds the
 * budget. Loads of one context are shared; the least recently used ones nobody reads make room.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { ResidentContext } from "../model-runner.ts";
import { SingleFlight } from "./single-flight.ts";
import type { CacheInfo, CacheReason, LoadRequest } from "./types.ts";

/** A context as queries use it. */
export interface LoadedContext {
  readonly contextId: string;
  readonly digest: string;
  readonly model: string;
  readonly contextTokens: number;
  readonly resident: ResidentContext;
  /** Bytes read from the store. */
  readonly storedBytes: number;
}

/** A context that was found and checked, and can be read. */
export interface ReadableContext {
  /** Bytes it will hold in memory. */
  readonly bytes: number;
  read(): Promise<LoadedContext>;
}

/** Finds a context in the store and checks that it is the one asked for. */
export type FindContext = (request: LoadRequest, signal: AbortSignal) => Promise<ReadableContext>;

/** A context kept resident until released. */
export interface ContextLease {
  readonly context: LoadedContext;
  readonly cache: CacheInfo;
  release(): void;
}

interface Entry {
  readonly loaded: LoadedContext;
  readonly bytes: number;
  leases: number;
}

/** Ids of contexts that were resident once; enough to explain misses, bounded. */
const MAX_REMEMBERED = 10_000;

export interface ResidentContextsOptions {
  readonly budgetBytes: number;
  readonly find: FindContext;
  /** Resident in the process before this one. */
  readonly lostContextIds: readonly string[];
}

export class ResidentContexts {
  readonly #budgetBytes: number;
  readonly #find: FindContext;
  /** Least recently used first. */
  readonly #entries = new Map<string, Entry>();
  /** Evicted while queries read them. */
  readonly #leaving = new Set<Entry>();
  readonly #flights = new SingleFlight<CacheReason>();
  readonly #gone = new Map<string, CacheReason>();
  #reservedBytes = 0;
  #madeRoom = 0;

  constructor({ budgetBytes, find, lostContextIds }: ResidentContextsOptions) {
    this.#budgetBytes = budgetBytes;
    this.#find = find;
    for (const id of lostContextIds) this.#remember(id, "ENGINE_RESTARTED");
  }

  get ids(): string[] {
    return [...this.#entries.keys()];
  }

  /** Bytes of everything resident, evicted contexts that are still read included. */
  get bytes(): number {
    let bytes = 0;
    for (const entry of this.#entries.values()) bytes += entry.bytes;
    for (const entry of this.#leaving) bytes += entry.bytes;
    return bytes;
  }

  /** Bytes of what queries read now. */
  get occupiedBytes(): number {
    let bytes = 0;
    for (const entry of this.#entries.values()) if (entry.leases > 0) bytes += entry.bytes;
    for (const entry of this.#leaving) bytes += entry.bytes;
    return bytes;
  }

  /** Contexts let go to make room so far. */
  get evictions(): number {
    return this.#madeRoom;
  }

  /** Loads the context if it is not resident. INCOMPATIBLE_MODEL when the resident one is another than asked for. */
  async acquire(request: LoadRequest, signal?: AbortSignal): Promise<ContextLease> {
    const { contextId, digest, model } = request;
    // Another digest or model is another question to the store, with another answer.
    const key = JSON.stringify([contextId, digest, model]);
    let cache: CacheInfo = { tier: "memory", reason: "RESIDENT", bytesLoaded: 0 };
    for (;;) {
      const entry = this.#entries.get(contextId);
      if (entry !== undefined) {
        checkSame(entry.loaded, request);
        return this.#lease(entry, cache);
      }
      const { value: reason, leader } = await this.#flights.run(key, (shared) => this.#load(request, shared), signal);
      const bytesLoaded = leader ? (this.#entries.get(contextId)?.loaded.storedBytes ?? 0) : 0;
      cache = { tier: "store", reason, bytesLoaded };
    }
  }

  /** False when it was not resident. Its bytes are freed when the last query on it ends. */
  evict(contextId: string): boolean {
    const entry = this.#entries.get(contextId);
    if (entry === undefined) return false;
    this.#entries.delete(contextId);
    if (entry.leases > 0) this.#leaving.add(entry);
    this.#remember(contextId, "EVICTED");
    return true;
  }

  #lease(entry: Entry, cache: CacheInfo): ContextLease {
    const { contextId } = entry.loaded;
    if (this.#entries.get(contextId) === entry) {
      this.#entries.delete(contextId);
      this.#entries.set(contextId, entry);
    }
    entry.leases++;
    let released = false;
    return {
      context: entry.loaded,
      cache,
      release: () => {
        if (released) return;
        released = true;
        if (--entry.leases === 0) this.#leaving.delete(entry);
      },
    };
  }

  async #load(request: LoadRequest, signal: AbortSignal): Promise<CacheReason> {
    const { contextId } = request;
    const readable = await this.#find(request, signal);
    this.#makeRoom(contextId, readable.bytes);
    this.#reservedBytes += readable.bytes;
    let loaded: LoadedContext;
    try {
      loaded = await readable.read();
    } finally {
      this.#reservedBytes -= readable.bytes;
    }
    this.#entries.set(contextId, { loaded, bytes: loaded.resident.bytes, leases: 0 });
    const reason = this.#gone.get(contextId) ?? "FIRST_USE";
    this.#gone.delete(contextId);
    return reason;
  }

  /** Evicts what nobody reads until `bytes` more fit; evicts nothing when they cannot. */
  #makeRoom(contextId: string, bytes: number): void {
    const idle = [...this.#entries].filter(([, { leases }]) => leases === 0);
    const idleBytes = idle.reduce((sum, [, entry]) => sum + entry.bytes, 0);
    const heldBytes = this.bytes + this.#reservedBytes - idleBytes;
    if (heldBytes + bytes > this.#budgetBytes) {
      throw new KvaultError(
        "NO_CAPACITY",
        `Cannot load context "${contextId}": it needs ${bytes} bytes, ${heldBytes} of ${this.#budgetBytes} are in use`,
        { details: { contextId, bytes, heldBytes, budgetBytes: this.#budgetBytes }, retryable: bytes <= this.#budgetBytes },
      );
    }
    for (const [id] of idle) {
      if (this.bytes + this.#reservedBytes + bytes <= this.#budgetBytes) return;
      if (this.evict(id)) this.#madeRoom++;
    }
  }

  #remember(contextId: string, reason: CacheReason): void {
    this.#gone.delete(contextId);
    this.#gone.set(contextId, reason);
    const [oldest] = this.#gone.keys();
    if (this.#gone.size > MAX_REMEMBERED && oldest !== undefined) this.#gone.delete(oldest);
  }
}

function checkSame(loaded: LoadedContext, request: LoadRequest): void {
  for (const field of ["digest", "model"] as const) {
    if (loaded[field] === request[field]) continue;
    throw new KvaultError(
      "INCOMPATIBLE_MODEL",
      `Cannot use context "${request.contextId}": ${field} is "${loaded[field]}", expected "${request[field]}"`,
      { details: { contextId: request.contextId, field, expected: request[field], found: loaded[field] } },
    );
  }
}
