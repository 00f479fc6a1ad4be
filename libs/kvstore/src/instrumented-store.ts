/**
 * A store that tells of every call: what, how long, how many bytes, how it ended. Metrics and
 * traces hang on this; backends know nothing of them.
 *
 * @module
 */
import type { ErrorCode } from "@kvault/core";
import { isKvaultError, toKvaultError } from "@kvault/core";
import type { BlobStat, BlobStore, CallOptions, PutOptions, StoreAbilities } from "./blob-store.ts";

export interface StoreCall {
  readonly operation: "put" | "get" | "stat" | "delete" | "list";
  readonly key: string;
  /** For a listing: until its reader left it. */
  readonly seconds: number;
  /** Bytes of the value put or got; 0 otherwise. */
  readonly bytes: number;
  /** `missing` is an answer, not a failure. */
  readonly outcome: "ok" | "missing" | ErrorCode;
}

/** `store`, telling `onCall` of each call once it is over. Closing it closes `store`. */
export function instrumentedStore(store: BlobStore, onCall: (call: StoreCall) => void): BlobStore {
  return new InstrumentedStore(store, onCall);
}

class InstrumentedStore implements BlobStore {
  readonly #store: BlobStore;
  readonly #onCall: (call: StoreCall) => void;

  constructor(store: BlobStore, onCall: (call: StoreCall) => void) {
    this.#store = store;
    this.#onCall = onCall;
  }

  get abilities(): StoreAbilities {
    return this.#store.abilities;
  }

  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<void> {
    const size = bytes.byteLength;
    return this.#timed(
      "put",
      key,
      () => this.#store.put(key, bytes, options),
      () => ({ bytes: size }),
    );
  }

  get(key: string, options?: CallOptions): Promise<Uint8Array> {
    return this.#timed(
      "get",
      key,
      () => this.#store.get(key, options),
      (bytes) => ({ bytes: bytes.byteLength }),
    );
  }

  stat(key: string, options?: CallOptions): Promise<BlobStat | undefined> {
    const missing = (stat: BlobStat | undefined): Told => (stat === undefined ? { outcome: "missing" } : {});
    return this.#timed("stat", key, () => this.#store.stat(key, options), missing);
  }

  delete(key: string, options?: CallOptions): Promise<void> {
    return this.#timed("delete", key, () => this.#store.delete(key, options));
  }

  async *list(prefix: string, options?: CallOptions): AsyncGenerator<string> {
    const startedMs = performance.now();
    let outcome: StoreCall["outcome"] = "ok";
    try {
      yield* this.#store.list(prefix, options);
    } catch (error) {
      outcome = outcomeOf(error);
      throw error;
    } finally {
      this.#tell("list", prefix, startedMs, { outcome });
    }
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #timed<T>(
    operation: StoreCall["operation"],
    key: string,
    call: () => Promise<T>,
    told?: (result: T) => Told,
  ): Promise<T> {
    const startedMs = performance.now();
    let ended: Told = {};
    try {
      const result = await call();
      ended = told?.(result) ?? {};
      return result;
    } catch (error) {
      ended = { outcome: outcomeOf(error) };
      throw error;
    } finally {
      this.#tell(operation, key, startedMs, ended);
    }
  }

  #tell(operation: StoreCall["operation"], key: string, startedMs: number, { bytes = 0, outcome = "ok" }: Told): void {
    this.#onCall({ operation, key, seconds: (performance.now() - startedMs) / 1_000, bytes, outcome });
  }
}

type Told = Partial<Pick<StoreCall, "bytes" | "outcome">>;

function outcomeOf(error: unknown): StoreCall["outcome"] {
  return isKvaultError(error, "STORE_NOT_FOUND") ? "missing" : toKvaultError(error).code;
}
