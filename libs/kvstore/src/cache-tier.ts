/**
 * One faster tier before a slower store: copies within a byte budget, the least recently used
 * evicted first, from the high watermark down to the low one.
 *
 * Copies are never the truth. One that is damaged is dropped, one that cannot be read is
 * missing, one that cannot be written is not kept; all three are told to `onTrouble` and none
 * to the reader. Changes of a tier are made one after another, so the account of its bytes is
 * exact. What the store held when it was opened (a disk after a restart) is taken over.
 *
 * @module
 */
import { isKvaultError, KvaultError, sha256Hex, toKvaultError } from "@kvault/core";
import type { BlobStore, CallOptions } from "./blob-store.ts";

export interface Tier {
  /** For reports: `memory`, `disk`. */
  readonly name: string;
  /** Used by this tier alone. Closed with it. */
  readonly store: BlobStore;
  readonly capacityBytes: number;
  /** False for memory of this process, whose copies were checked on their way in. */
  readonly checkOnRead: boolean;
}

/** Evict when more than this part of the capacity would be used … */
const HIGH_WATERMARK = 0.8;
/** … until no more than this is. */
const LOW_WATERMARK = 0.6;
/** Copies waiting to be written; beyond it a slow tier is passed by. */
const MAX_PENDING_BYTES = 64 * 1024 * 1024;

export class CacheTier {
  readonly name: string;
  readonly #tier: Tier;
  readonly #onTrouble: (error: KvaultError) => void;
  /** Bytes by key, least recently used first. */
  readonly #bytesOf = new Map<string, number>();
  #usedBytes = 0;
  #pendingBytes = 0;
  /** The last of the changes, which follow one another. */
  #last: Promise<void> = Promise.resolve();

  private constructor(tier: Tier, onTrouble: (error: KvaultError) => void) {
    this.name = tier.name;
    this.#tier = tier;
    this.#onTrouble = onTrouble;
  }

  /** Takes over what the store holds, as far as it fits. A store that cannot be listed starts as empty. */
  static async open(tier: Tier, onTrouble: (error: KvaultError) => void): Promise<CacheTier> {
    if (!(tier.capacityBytes >= 0))
      throw new RangeError(`Cannot open tier "${tier.name}": capacity is ${tier.capacityBytes} bytes`);
    const cache = new CacheTier(tier, onTrouble);
    try {
      const found: { key: string; bytes: number; modifiedMs: number }[] = [];
      for await (const key of tier.store.list("")) {
        const stat = await tier.store.stat(key);
        if (stat !== undefined) found.push({ key, bytes: stat.bytes, modifiedMs: stat.modifiedMs ?? 0 });
      }
      found.sort((a, b) => a.modifiedMs - b.modifiedMs);
      for (const { key, bytes } of found) cache.#count(key, bytes);
      if (!cache.#fits(0)) await cache.#evictFor(0);
    } catch (error) {
      onTrouble(toKvaultError(error));
    }
    return cache;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** The verified copy of `key`, or undefined. Rejects only when `signal` aborts. */
  async get(key: string, sha256: string, { signal }: CallOptions = {}): Promise<Uint8Array | undefined> {
    if (!this.#bytesOf.has(key)) return undefined;
    let bytes: Uint8Array;
    try {
      bytes = await this.#tier.store.get(key, { signal });
    } catch (error) {
      if (isKvaultError(error, "CANCELLED", "DEADLINE_EXCEEDED")) throw error;
      if (isKvaultError(error, "STORE_NOT_FOUND")) this.#uncount(key);
      else this.#onTrouble(toKvaultError(error));
      return undefined;
    }
    if (this.#tier.checkOnRead && sha256Hex(bytes) !== sha256) {
      this.#onTrouble(
        new KvaultError("CACHE_CORRUPT", `Cannot use copy of "${key}" in tier "${this.name}": it is damaged`, {
          details: { key },
        }),
      );
      void this.delete(key);
      return undefined;
    }
    this.#touch(key);
    return bytes;
  }

  /** Keeps a copy of `bytes`, which must not change until the promise resolves. Never rejects. */
  admit(key: string, bytes: Uint8Array): Promise<void> {
    const size = bytes.byteLength;
    // What would push out all else is not worth it.
    if (size > this.#tier.capacityBytes * LOW_WATERMARK || this.#pendingBytes + size > MAX_PENDING_BYTES)
      return Promise.resolve();
    this.#pendingBytes += size;
    return this.#change(async () => {
      try {
        if (this.#bytesOf.has(key)) return;
        if (!this.#fits(size) && !(await this.#evictFor(size))) return;
        // Counted first: a put that fails half-way may have left bytes, and is deleted below.
        this.#count(key, size);
        await this.#tier.store.put(key, bytes).catch(async (error: unknown) => {
          await this.#drop(key);
          throw error;
        });
      } finally {
        this.#pendingBytes -= size;
      }
    });
  }

  /** Drops the copy of `key`. Never rejects. */
  delete(key: string): Promise<void> {
    return this.#change(() => this.#drop(key));
  }

  /** Waits for the changes under way and closes the store. */
  async close(): Promise<void> {
    await this.#last;
    await this.#tier.store.close();
  }

  #change(work: () => Promise<unknown>): Promise<void> {
    this.#last = this.#last.then(work).then(
      () => undefined,
      (error: unknown) => this.#onTrouble(toKvaultError(error)),
    );
    return this.#last;
  }

  #fits(bytes: number): boolean {
    return this.#usedBytes + bytes <= this.#tier.capacityBytes * HIGH_WATERMARK;
  }

  /** False when there is no room to be had. */
  async #evictFor(bytes: number): Promise<boolean> {
    const target = this.#tier.capacityBytes * LOW_WATERMARK;
    for (const key of this.#bytesOf.keys()) {
      if (this.#usedBytes + bytes <= target) break;
      await this.#drop(key);
    }
    return this.#usedBytes + bytes <= target;
  }

  /** A copy that cannot be deleted stays in the account: its bytes are still there. */
  async #drop(key: string): Promise<void> {
    if (!this.#bytesOf.has(key)) return;
    await this.#tier.store.delete(key);
    this.#uncount(key);
  }

  #count(key: string, bytes: number): void {
    this.#bytesOf.set(key, bytes);
    this.#usedBytes += bytes;
  }

  #uncount(key: string): void {
    this.#usedBytes -= this.#bytesOf.get(key) ?? 0;
    this.#bytesOf.delete(key);
  }

  #touch(key: string): void {
    const bytes = this.#bytesOf.get(key);
    if (bytes === undefined) return;
    this.#bytesOf.delete(key);
    this.#bytesOf.set(key, bytes);
  }
}
