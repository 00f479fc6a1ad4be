/**
 * Public method checks, private method does: the one wrapper around every backend.
 *
 * It refuses bad keys and sizes (INVALID_ARGUMENT), aborted calls and calls after close
 * (CLOSED), and lets `close()` wait for the calls under way. A backend is then I/O alone.
 *
 * @module
 */
import { invalidArgument, KvaultError, throwIfAborted } from "@kvault/core";
import type { BlobStat, BlobStore, CallOptions, PutOptions, StoreAbilities } from "./blob-store.ts";
import { checkKey, checkPrefix, MAX_VALUE_BYTES } from "./blob-store.ts";

/** Around `backend`, which then never sees a bad key, a closed state or an already aborted signal. */
export function checkedStore(backend: BlobStore): BlobStore {
  return new CheckedStore(backend);
}

class CheckedStore implements BlobStore {
  readonly #backend: BlobStore;
  readonly #underWay = new Set<Promise<unknown>>();
  #closing: Promise<void> | undefined;

  constructor(backend: BlobStore) {
    this.#backend = backend;
  }

  get abilities(): StoreAbilities {
    return this.#backend.abilities;
  }

  async put(key: string, bytes: Uint8Array, options: PutOptions = {}): Promise<void> {
    checkKey(key);
    if (!(bytes instanceof Uint8Array)) throw new TypeError("Cannot put a value that is not a Uint8Array");
    if (bytes.byteLength > MAX_VALUE_BYTES) {
      throw invalidArgument("bytes", `Cannot put "${key}": ${bytes.byteLength} bytes, limit ${MAX_VALUE_BYTES}`, { key });
    }
    return this.#call(options, () => this.#backend.put(key, bytes, options));
  }

  async get(key: string, options: CallOptions = {}): Promise<Uint8Array> {
    checkKey(key);
    return this.#call(options, () => this.#backend.get(key, options));
  }

  async stat(key: string, options: CallOptions = {}): Promise<BlobStat | undefined> {
    checkKey(key);
    return this.#call(options, () => this.#backend.stat(key, options));
  }

  async delete(key: string, options: CallOptions = {}): Promise<void> {
    checkKey(key);
    return this.#call(options, () => this.#backend.delete(key, options));
  }

  async *list(prefix: string, options: CallOptions = {}): AsyncGenerator<string> {
    checkPrefix(prefix);
    const keys = this.#backend.list(prefix, options)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await this.#call(options, () => keys.next());
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      await keys.return?.();
    }
  }

  close(): Promise<void> {
    this.#closing ??= Promise.allSettled(this.#underWay).then(() => this.#backend.close());
    return this.#closing;
  }

  async #call<T>(options: CallOptions, work: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) throw new KvaultError("CLOSED", "Cannot use store: it was closed");
    throwIfAborted(options.signal);
    const promise = work();
    this.#underWay.add(promise);
    try {
      return await promise;
    } finally {
      this.#underWay.delete(promise);
    }
  }
}
