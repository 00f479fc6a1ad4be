/**
 * A slow, shared store behind fast, private tiers: memory ← disk ← remote.
 *
 * Only values whose key tells their SHA-256 (the parts of a record) are kept in tiers: such a
 * copy is right or it is not, whatever others do to the remote meanwhile. All else, manifests
 * above all, is asked of the remote each time, which stays the truth for what exists.
 *
 * A value is read whole from one tier and verified before its first byte leaves; a tier that
 * fails, or holds a damaged copy, is passed by for the next one. Readers of one key share one
 * load, which goes on as long as one of them waits. Copies are made beside the answer, not
 * before it.
 *
 * @module
 */
import { KvaultError, orAborted, sha256Hex, throwIfAborted } from "@kvault/core";
import type { BlobStat, BlobStore, CallOptions, PutOptions, StoreAbilities } from "./blob-store.ts";
import { CacheTier, type Tier } from "./cache-tier.ts";
import { checkedStore } from "./checked-store.ts";
import { parseRecordKey } from "./record-layout.ts";

/** One value served: from where, and what it took. */
export interface TierHit {
  readonly key: string;
  /** The tier's name, or `remote`. */
  readonly tier: string;
  readonly bytes: number;
  readonly seconds: number;
}

export interface TieredStoreOptions {
  /** Fastest first. */
  readonly tiers: readonly Tier[];
  /** Holds the truth. Closed with this store. */
  readonly remote: BlobStore;
  /** The hex SHA-256 that the value of `key` must have, if its name tells; parts of records by default. */
  readonly sha256Of?: (key: string) => string | undefined;
  /** Told once per load, however many readers shared it. */
  readonly onHit?: (hit: TierHit) => void;
  /** A copy that could not be read, written or trusted; readers are served all the same. */
  readonly onTrouble?: (tier: string, error: KvaultError) => void;
}

/** Opens the tiers, taking over what they hold. */
export async function openTieredStore(options: TieredStoreOptions): Promise<BlobStore> {
  const tiers: CacheTier[] = [];
  for (const tier of options.tiers) {
    tiers.push(await CacheTier.open(tier, (error) => options.onTrouble?.(tier.name, error)));
  }
  return checkedStore(new TieredStore(tiers, options));
}

interface Flight {
  readonly bytes: Promise<Uint8Array>;
  readonly controller: AbortController;
  waiting: number;
  /** The key was deleted meanwhile: serve, but keep no copy. */
  deleted: boolean;
}

class TieredStore implements BlobStore {
  readonly #tiers: readonly CacheTier[];
  readonly #remote: BlobStore;
  readonly #sha256Of: (key: string) => string | undefined;
  readonly #onHit: ((hit: TierHit) => void) | undefined;
  readonly #flights = new Map<string, Flight>();

  constructor(tiers: readonly CacheTier[], { remote, sha256Of, onHit }: TieredStoreOptions) {
    this.#tiers = tiers;
    this.#remote = remote;
    this.#sha256Of = sha256Of ?? ((key) => parseRecordKey(key)?.part);
    this.#onHit = onHit;
  }

  get abilities(): StoreAbilities {
    return this.#remote.abilities;
  }

  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<void> {
    return this.#remote.put(key, bytes, options);
  }

  async get(key: string, options: CallOptions = {}): Promise<Uint8Array> {
    const sha256 = this.#sha256Of(key);
    if (sha256 === undefined) return this.#remote.get(key, options);
    throwIfAborted(options.signal);
    const flight = this.#flights.get(key) ?? this.#takeOff(key, sha256);
    flight.waiting++;
    try {
      const bytes = await orAborted(flight.bytes, options.signal);
      // Copies may still be made of the loaded bytes, and others share them.
      return bytes.slice();
    } finally {
      if (--flight.waiting === 0) {
        flight.controller.abort();
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
      }
    }
  }

  stat(key: string, options?: CallOptions): Promise<BlobStat | undefined> {
    return this.#remote.stat(key, options);
  }

  async delete(key: string, options?: CallOptions): Promise<void> {
    const flight = this.#flights.get(key);
    if (flight !== undefined) {
      flight.deleted = true;
      this.#flights.delete(key);
    }
    await this.#remote.delete(key, options);
    const later = this.#flights.get(key);
    if (later !== undefined) later.deleted = true;
    await Promise.all(this.#tiers.map((tier) => tier.delete(key)));
  }

  list(prefix: string, options?: CallOptions): AsyncIterable<string> {
    return this.#remote.list(prefix, options);
  }

  async close(): Promise<void> {
    await Promise.all(this.#tiers.map((tier) => tier.close()));
    await this.#remote.close();
  }

  #takeOff(key: string, sha256: string): Flight {
    const controller = new AbortController();
    const flight: Flight = {
      bytes: Promise.resolve().then(() => this.#load(key, sha256, flight)),
      controller,
      waiting: 0,
      deleted: false,
    };
    flight.bytes.catch(() => undefined);
    this.#flights.set(key, flight);
    return flight;
  }

  async #load(key: string, sha256: string, flight: Flight): Promise<Uint8Array> {
    const { signal } = flight.controller;
    const startedMs = performance.now();
    for (const [i, tier] of this.#tiers.entries()) {
      const bytes = await tier.get(key, sha256, { signal });
      if (bytes !== undefined) return this.#served(key, tier.name, bytes, startedMs, flight, this.#tiers.slice(0, i));
    }
    const bytes = await this.#remote.get(key, { signal });
    const found = sha256Hex(bytes);
    if (found !== sha256) {
      throw new KvaultError("CACHE_CORRUPT", `Cannot get "${key}": content hashes to "${found}"`, { details: { key, found } });
    }
    return this.#served(key, "remote", bytes, startedMs, flight, this.#tiers);
  }

  #served(
    key: string,
    tier: string,
    bytes: Uint8Array,
    startedMs: number,
    flight: Flight,
    faster: readonly CacheTier[],
  ): Uint8Array {
    if (!flight.deleted) for (const cache of faster) void cache.admit(key, bytes);
    this.#onHit?.({ key, tier, bytes: bytes.byteLength, seconds: (performance.now() - startedMs) / 1_000 });
    return bytes;
  }
}
