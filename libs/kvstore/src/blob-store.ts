/**
 * The contract of every store backend: bytes under keys, nothing else.
 *
 * Backends contain I/O and no policy: hashing, verification, limits and layout live in
 * record.ts, argument checks and life cycle in checked-store.ts. Missing differs from broken,
 * slow and forbidden: STORE_NOT_FOUND, CACHE_CORRUPT, STORE_UNAVAILABLE, STORE_FORBIDDEN,
 * STORE_FULL, STORE_EXISTS.
 *
 * Keys are `folder/folder/name.ext`. Folders have no dot and names have one, so no key can be
 * a folder of another and every key is a path on every file system, also on those that fold case.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";

/** What a backend can do; the conformance suite reads this, never a backend's name. */
export interface StoreAbilities {
  /** Bytes survive the process. */
  readonly durable: boolean;
  /** Other processes see the same bytes. */
  readonly shared: boolean;
}

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

export interface PutOptions extends CallOptions {
  /** Refuse with STORE_EXISTS when the key is taken; atomic, exactly one of many racing writers wins. */
  readonly ifAbsent?: boolean;
}

export interface BlobStat {
  readonly bytes: number;
  /** When the value was last put, ms since the epoch; absent when the backend cannot tell. */
  readonly modifiedMs?: number;
}

export interface BlobStore {
  readonly abilities: StoreAbilities;
  /** All or nothing: a reader sees the whole value or none, also after `kill -9` at any point. `bytes` may be reused once it resolves. */
  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<void>;
  /** The whole value, the caller's to keep; STORE_NOT_FOUND when there is none. */
  get(key: string, options?: CallOptions): Promise<Uint8Array>;
  /** Size and age, or undefined when missing. Never "missing" for a failure. */
  stat(key: string, options?: CallOptions): Promise<BlobStat | undefined>;
  /** Idempotent: deleting what is not there succeeds. */
  delete(key: string, options?: CallOptions): Promise<void>;
  /** Keys under a prefix that is empty or ends in "/", in ascending byte order. */
  list(prefix: string, options?: CallOptions): AsyncIterable<string>;
  /** Waits for calls under way. Idempotent; later calls are refused with CLOSED. */
  close(): Promise<void>;
}

/** Longest key that every backend carries (S3 stops at 1024 bytes, paths at 4096). */
export const MAX_KEY_CHARS = 512;
/** Longest folder or name; file systems stop at 255 bytes. */
const MAX_SEGMENT_CHARS = 200;
/** Largest value; parts are split far below (record.ts), Redis stops at 512 MB. */
export const MAX_VALUE_BYTES: number = 512_000_000;

const FOLDER = /^[a-z0-9_-]+$/;
const NAME = /^[a-z0-9_-]+(?:\.[a-z0-9_-]+)+$/;

/** Throws INVALID_ARGUMENT unless `key` follows the rules above. */
export function checkKey(key: string): void {
  const segments = typeof key === "string" && key.length <= MAX_KEY_CHARS ? key.split("/") : [];
  const name = segments.pop();
  if (name === undefined || !isKeyName(name) || !segments.every(isKeyFolder)) {
    throw invalidArgument("key", `Cannot use store key: ${excerpt(key)} is not "folder/…/name.ext" of a-z 0-9 _ -`);
  }
}

/** Throws INVALID_ARGUMENT unless `prefix` is empty or folders that each end in "/". */
export function checkPrefix(prefix: string): void {
  if (prefix === "") return;
  const segments = typeof prefix === "string" && prefix.length <= MAX_KEY_CHARS ? prefix.split("/") : [];
  if (segments.pop() !== "" || segments.length === 0 || !segments.every(isKeyFolder)) {
    throw invalidArgument("prefix", `Cannot list store keys: ${excerpt(prefix)} is not "folder/…/" of a-z 0-9 _ -`);
  }
}

/** True for what may stand before a "/" in a key. */
export function isKeyFolder(segment: string): boolean {
  return segment.length <= MAX_SEGMENT_CHARS && FOLDER.test(segment);
}

/** True for what may end a key. */
export function isKeyName(segment: string): boolean {
  return segment.length <= MAX_SEGMENT_CHARS && NAME.test(segment);
}

function excerpt(value: unknown): string {
  return JSON.stringify(String(value).slice(0, 80));
}
