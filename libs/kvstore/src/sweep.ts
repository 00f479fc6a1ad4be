/**
 * Garbage collection of parts that no manifest names: what killed or late builders left.
 *
 * A part is removed when it is older than the grace time and no readable manifest of its
 * context names it. A context whose manifest cannot be read keeps all its parts: broken is
 * not gone. The grace time must exceed the longest build, since a build's parts come before
 * its manifest.
 *
 * @module
 */
import type { KvaultError } from "@kvault/core";
import { isKvaultError } from "@kvault/core";
import type { BlobStore, CallOptions } from "./blob-store.ts";
import type { ContextManifest } from "./manifest.ts";
import { readManifest } from "./record.ts";
import { parseRecordKey, RECORDS_PREFIX } from "./record-layout.ts";

export interface SweepOptions extends CallOptions {
  /** Parts put more recently are left alone. */
  readonly graceMs: number;
  /** Ms since the epoch. Default now. */
  readonly nowMs?: number;
  /** Told of each context whose manifest cannot be read. */
  readonly onBroken?: (contextId: string, error: KvaultError) => void;
}

export interface SweepReport {
  readonly removedParts: number;
  readonly removedBytes: number;
}

/** Removes orphaned parts of all contexts; parts whose age the backend cannot tell stay. */
export async function sweepOrphans(store: BlobStore, options: SweepOptions): Promise<SweepReport> {
  const olderThanMs = (options.nowMs ?? Date.now()) - options.graceMs;
  const call: CallOptions = { signal: options.signal };
  let removedParts = 0;
  let removedBytes = 0;
  let known: { readonly contextId: string; readonly isNamed: (part: string) => boolean } | undefined;
  for await (const key of store.list(RECORDS_PREFIX, call)) {
    const record = parseRecordKey(key);
    if (record?.part === undefined) continue;
    const stat = await store.stat(key, call);
    if (stat?.modifiedMs === undefined || stat.modifiedMs > olderThanMs) continue;
    // Read after the age was: a builder that renewed the part since has not committed before.
    if (known?.contextId !== record.contextId) {
      known = { contextId: record.contextId, isNamed: await namedParts(store, record.contextId, options) };
    }
    if (known.isNamed(record.part)) continue;
    await store.delete(key, call);
    removedParts++;
    removedBytes += stat.bytes;
  }
  return { removedParts, removedBytes };
}

async function namedParts(store: BlobStore, contextId: string, options: SweepOptions): Promise<(part: string) => boolean> {
  let manifest: ContextManifest;
  try {
    manifest = await readManifest(store, contextId, { signal: options.signal });
  } catch (error) {
    if (isKvaultError(error, "CONTEXT_NOT_FOUND")) return () => false;
    if (!isKvaultError(error, "CACHE_CORRUPT", "INCOMPATIBLE_FORMAT")) throw error;
    options.onBroken?.(contextId, error);
    return () => true;
  }
  const named = new Set(manifest.layers.flatMap((layer) => layer.parts.map((part) => part.sha256)));
  return (part) => named.has(part);
}
