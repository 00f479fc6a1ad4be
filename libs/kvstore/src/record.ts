/**
 * Reading, listing and deleting records (record-writer.ts makes them).
 *
 * A record without a manifest does not exist. Parts are checked against length and SHA-256 on
 * every read, so wrong bytes never leave this file. Deleting takes the manifest first: from
 * then on nobody finds the record, whatever happens to the rest.
 *
 * @module
 */
import { isKvaultError, KvaultError, sha256Hex } from "@kvault/core";
import { type ContextAttributes, readAttributes } from "./attributes.ts";
import type { BlobStore, CallOptions } from "./blob-store.ts";
import { eachAtOnce } from "./each-at-once.ts";
import type { ContextIdentity } from "./identity.ts";
import type { ContextManifest, PartRef } from "./manifest.ts";
import { parseManifest } from "./manifest.ts";
import {
  attributesPrefix,
  checkpointsPrefix,
  manifestKey,
  parseRecordKey,
  partKey,
  partsPrefix,
  RECORDS_PREFIX,
} from "./record-layout.ts";

export interface ReadManifestOptions extends CallOptions {
  /** Fields that must be equal, e.g. the loaded model's. */
  readonly expected?: Partial<ContextIdentity>;
}

/**
 * The manifest of a committed record. CONTEXT_NOT_FOUND when there is none, CACHE_CORRUPT or
 * INCOMPATIBLE_FORMAT when it cannot be trusted or read, INCOMPATIBLE_MODEL with the first
 * field that differs from `expected`, what was expected and what was found.
 */
export async function readManifest(
  store: BlobStore,
  contextId: string,
  options: ReadManifestOptions = {},
): Promise<ContextManifest> {
  let manifest: ContextManifest;
  try {
    manifest = parseManifest(await store.get(manifestKey(contextId), options));
  } catch (error) {
    if (isKvaultError(error, "STORE_NOT_FOUND")) throw contextNotFound(contextId, error);
    if (!isKvaultError(error, "CACHE_CORRUPT", "INCOMPATIBLE_FORMAT")) throw error;
    const { code, message, details, cause } = error;
    throw new KvaultError(code, `${message} (context "${contextId}")`, { details: { contextId, ...details }, cause });
  }
  if (manifest.contextId !== contextId) {
    throw new KvaultError("CACHE_CORRUPT", `Cannot read context "${contextId}": its manifest is of "${manifest.contextId}"`, {
      details: { contextId, field: "contextId", expected: contextId, found: manifest.contextId },
    });
  }
  if (options.expected !== undefined) checkIdentity(manifest, options.expected);
  return manifest;
}

/**
 * The bytes of a part, verified. CACHE_CORRUPT when they are missing or not what `ref` says,
 * CONTEXT_NOT_FOUND when the whole record was deleted meanwhile.
 */
export async function readPart(
  store: BlobStore,
  contextId: string,
  ref: PartRef,
  options: CallOptions = {},
): Promise<Uint8Array> {
  const bytes = await store.get(partKey(contextId, ref.sha256), options).catch(async (error: unknown) => {
    if (!isKvaultError(error, "STORE_NOT_FOUND")) throw error;
    if ((await store.stat(manifestKey(contextId), options)) === undefined) throw contextNotFound(contextId, error);
    throw corruptPart(contextId, ref, "it is missing");
  });
  if (bytes.byteLength !== ref.bytes) throw corruptPart(contextId, ref, `${bytes.byteLength} bytes, expected ${ref.bytes}`);
  const found = sha256Hex(bytes);
  if (found !== ref.sha256) throw corruptPart(contextId, ref, `content hashes to "${found}"`);
  return bytes;
}

export interface ListRecordsOptions extends CallOptions {
  /** Told of each record that cannot be read; the listing goes on without it. */
  readonly onBroken?: (contextId: string, error: KvaultError) => void;
}

/** A committed record: what it was published as, and what changed since. */
export interface StoredRecord {
  readonly manifest: ContextManifest;
  /** Absent when nothing was changed. */
  readonly attributes?: ContextAttributes;
}

/** All committed records, by ascending context id. */
export async function* listRecords(store: BlobStore, options: ListRecordsOptions = {}): AsyncGenerator<StoredRecord> {
  /** Has attributes, and its manifest comes next: keys are in order. */
  let changed: string | undefined;
  for await (const key of store.list(RECORDS_PREFIX, options)) {
    const { contextId = "", attributes, isManifest = false } = parseRecordKey(key) ?? {};
    if (attributes !== undefined) changed = contextId;
    if (!isManifest) continue;
    try {
      const call: CallOptions = { signal: options.signal };
      const manifest = await readManifest(store, contextId, call);
      const found = changed === contextId ? await readAttributes(store, contextId, manifest.createTimeMs, call) : undefined;
      yield { manifest, ...(found === undefined ? {} : { attributes: found }) };
    } catch (error) {
      if (isKvaultError(error, "CONTEXT_NOT_FOUND")) continue; // deleted meanwhile
      if (!isKvaultError(error, "CACHE_CORRUPT", "INCOMPATIBLE_FORMAT")) throw error;
      options.onBroken?.(contextId, error);
    }
  }
}

export interface DeleteRecordOptions extends CallOptions {
  /** Awaited when nobody finds the record any more, before its parts go: for those who read it already. */
  readonly beforeParts?: () => Promise<void>;
}

/**
 * Deletes manifest, then parts, then attributes; true when there was a record. What a crash in between leaves is
 * for the sweep. Cancel a build of the same context first: it loses its parts, and its commit
 * is refused as STORE_UNAVAILABLE.
 */
export async function deleteRecord(store: BlobStore, contextId: string, options: DeleteRecordOptions = {}): Promise<boolean> {
  const existed = (await store.stat(manifestKey(contextId), options)) !== undefined;
  await store.delete(manifestKey(contextId), options);
  await options.beforeParts?.();
  await eachAtOnce(store.list(partsPrefix(contextId), options), (key) => store.delete(key, options));
  await eachAtOnce(store.list(attributesPrefix(contextId), options), (key) => store.delete(key, options));
  await eachAtOnce(store.list(checkpointsPrefix(contextId), options), (key) => store.delete(key, options));
  return existed;
}

function checkIdentity(manifest: ContextManifest, expected: Partial<ContextIdentity>): void {
  const { contextId, identity } = manifest;
  for (const field of Object.keys(expected) as (keyof ContextIdentity)[]) {
    const want = expected[field];
    const found = identity[field];
    if (want === undefined || want === found) continue;
    // A salt is a tenant's secret: name the field, not its value.
    const shown = field === "tenantSalt" ? {} : { expected: want, found: found ?? "" };
    const what = field === "tenantSalt" ? "differs" : `is "${found}", expected "${want}"`;
    throw new KvaultError("INCOMPATIBLE_MODEL", `Cannot use context "${contextId}": ${field} ${what}`, {
      details: { contextId, field, ...shown },
    });
  }
}

function contextNotFound(contextId: string, cause: unknown): KvaultError {
  return new KvaultError("CONTEXT_NOT_FOUND", `Cannot read context "${contextId}": there is no such record`, {
    details: { contextId },
    cause,
  });
}

function corruptPart(contextId: string, ref: PartRef, what: string): KvaultError {
  return new KvaultError("CACHE_CORRUPT", `Cannot read part "${ref.sha256}" of context "${contextId}": ${what}`, {
    details: { contextId, part: ref.sha256, bytes: ref.bytes },
  });
}
