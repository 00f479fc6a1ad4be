/**
 * A store in a `Map`: for tests and for embedding in one process. Gone with the process.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { BlobStat, BlobStore, PutOptions, StoreAbilities } from "../blob-store.ts";
import { checkedStore } from "../checked-store.ts";

/** A new, empty store; values are copied in and out. `now` gives ages, ms since the epoch. */
export function openMemoryStore(now: () => number = Date.now): BlobStore {
  return checkedStore(new MemoryStore(now));
}

interface Entry {
  readonly bytes: Uint8Array;
  readonly modifiedMs: number;
}

class MemoryStore implements BlobStore {
  readonly abilities: StoreAbilities = { durable: false, shared: false };
  readonly #entries = new Map<string, Entry>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  async put(key: string, bytes: Uint8Array, options: PutOptions = {}): Promise<void> {
    if (options.ifAbsent === true && this.#entries.has(key)) {
      throw new KvaultError("STORE_EXISTS", `Cannot put "${key}": the key is taken`, { details: { key } });
    }
    this.#entries.set(key, { bytes: new Uint8Array(bytes), modifiedMs: this.#now() });
  }

  async get(key: string): Promise<Uint8Array> {
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      throw new KvaultError("STORE_NOT_FOUND", `Cannot get "${key}": no such key`, { details: { key } });
    }
    return entry.bytes.slice();
  }

  async stat(key: string): Promise<BlobStat | undefined> {
    const entry = this.#entries.get(key);
    return entry === undefined ? undefined : { bytes: entry.bytes.byteLength, modifiedMs: entry.modifiedMs };
  }

  async delete(key: string): Promise<void> {
    this.#entries.delete(key);
  }

  async *list(prefix: string): AsyncGenerator<string> {
    const keys = [...this.#entries.keys()].filter((key) => key.startsWith(prefix)).sort();
    // What was deleted since is not listed any more.
    for (const key of keys) if (this.#entries.has(key)) yield key;
  }

  async close(): Promise<void> {
    this.#entries.clear();
  }
}
