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
import { eachAtOnce } from "./each-at-once.ts";
import { readManifest } from "./record.ts";
import { parseRecordKey, RECORDS_PREFIX } from "./record-layout.ts";

export interface SweepOptions extends CallOptions {
  /** Parts put more recently are left alone. */
  readonly graceMs: number;
  /** Ms since the epoch. Default now. */
  readonly nowMs?: number;
  /** Told of each context whose manifest cannot be read. */
  readonly onBroken?: (contextId: string, error: KvaultError) => void;
  /** True for a context that is being built or read: all that is its stays. */
  readonly isInUse?: (contextId: string) => Promise<boolean>;
  /** Count what would be removed, and leave it. */
  readonly dryRun?: boolean;
}

export interface SweepReport {
  readonly removedParts: number;
  readonly removedBytes: number;
}

/** Removes orphaned parts of all contexts; parts whose age the backend cannot tell stay. */
export async function sweepOrphans(store: BlobStore, options: SweepOptions): Promise<SweepReport> {
  const olderThanMs = (options.nowMs ?? Date.now()) - options.graceMs;
  const call: CallOptions = { signal: options.signal };
  const report = { removedParts: 0, removedBytes: 0 };
  let old: OldPart[] = [];
  for await (const key of store.list(RECORDS_PREFIX, call)) {
    const record = parseRecordKey(key);
    if (record?.part === undefined) continue;
    // Keys come in order, so a context's parts come together.
    if (old[0] !== undefined && old[0].contextId !== record.contextId) {
      await removeUnnamed(store, old, options, report);
      old = [];
    }
    const stat = await store.stat(key, call);
    if (stat?.modifiedMs === undefined || stat.modifiedMs > olderThanMs) continue;
    old.push({ key, contextId: record.contextId, sha256: record.part, bytes: stat.bytes });
  }
  await removeUnnamed(store, old, options, report);
  return report;
}

interface OldPart {
  readonly key: string;
  readonly contextId: string;
  readonly sha256: string;
  readonly bytes: number;
}

/** `old`: parts of one context. Ages were read before the manifest is: what is old now and not named was never committed. */
async function removeUnnamed(
  store: BlobStore,
  old: readonly OldPart[],
  options: SweepOptions,
  report: { removedParts: number; removedBytes: number },
): Promise<void> {
  if (old[0] === undefined) return;
  if ((await options.isInUse?.(old[0].contextId)) === true) return;
  const isNamed = await namedParts(store, old[0].contextId, options);
  await eachAtOnce(old, async ({ key, sha256, bytes }) => {
    if (isNamed(sha256)) return;
    if (options.dryRun !== true) await store.delete(key, { signal: options.signal });
    report.removedParts++;
    report.removedBytes += bytes;
  });
}

async function namedParts(store: BlobStore, contextId: string, options: SweepOptions): Promise<(sha256: string) => boolean> {
  try {
    const manifest = await readManifest(store, contextId, { signal: options.signal });
    const named = new Set(manifest.layers.flatMap((layer) => layer.parts.map((part) => part.sha256)));
    return (sha256) => named.has(sha256);
  } catch (error) {
    if (isKvaultError(error, "CONTEXT_NOT_FOUND")) return () => false;
    if (!isKvaultError(error, "CACHE_CORRUPT", "INCOMPATIBLE_FORMAT")) throw error;
    options.onBroken?.(contextId, error);
    return () => true;
  }
}
