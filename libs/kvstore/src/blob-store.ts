/**
 * The contract of every store backend: bytes under keys, nothing else.
 *
 * Backends contain I/O and no policy: hashing, verification, limits and layout live in
 * record.ts. Missing differs from broken, slow and forbidden:
 * STORE_NOT_FOUND, CACHE_CORRUPT, STORE_UNAVAILABLE, STORE_FORBIDDEN, STORE_FULL, STORE_EXISTS.
 *
 * @module
 */

/** What a backend can do; the conformance suite reads this, never a backend's name. */
export interface StoreAbilities {
  /** Bytes survive the process. */
  readonly durable: boolean;
  /** Other processes see the same bytes. */
  readonly shared: boolean;
}

export interface CallOptions {
  readonly signal?: AbortSignal;
}

export interface PutOptions extends CallOptions {
  /** Refuse with STORE_EXISTS when the key is taken; atomic, exactly one of many racing writers wins. */
  readonly ifAbsent?: boolean;
}

export interface BlobStore {
  readonly abilities: StoreAbilities;
  /** All or nothing: a reader sees the whole value or none, also after `kill -9` at any point. */
  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<void>;
  /** The whole value; STORE_NOT_FOUND when there is none. */
  get(key: string, options?: CallOptions): Promise<Uint8Array>;
  /** Size in bytes, or undefined when missing. Never "missing" for a failure. */
  stat(key: string, options?: CallOptions): Promise<number | undefined>;
  /** Idempotent: deleting what is not there succeeds. */
  delete(key: string, options?: CallOptions): Promise<void>;
  /** Keys under a prefix that ends in "/", in ascending byte order. */
  list(prefix: string, options?: CallOptions): AsyncIterable<string>;
  /** Idempotent; later calls are refused with CLOSED. */
  close(): Promise<void>;
}

/** Keys are `segment/segment/…`: lower-case letters, digits, `.`, `_`, `-`; at most 512 characters; no empty, `.` or `..` segment. */
export const MAX_KEY_CHARS = 512;
