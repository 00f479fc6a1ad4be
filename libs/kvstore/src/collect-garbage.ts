/**
 * Everything in a store that nothing leads to any more: parts without a manifest (sweep.ts), and
 * what builds that are over
 * left: their requests and their checkpoints.
 *
 * @module
 */

import type { BlobStore } from "./blob-store.ts";
import { BUILD_REQUESTS_PREFIX } from "./build-request.ts";
import { CHECKPOINTS_PREFIX } from "./record-layout.ts";
import { type SweepOptions, type SweepReport, sweepOrphans } from "./sweep.ts";

export interface GarbageReport extends SweepReport {
  /** Requests and checkpoints of builds. */
  readonly removedRequests: number;
  readonly removedRequestBytes: number;
}

const REQUEST_KEY = /^v1\/(?:builds|checkpoints)\/(?<contextId>c[0-9a-f]{32})\/[^/]+$/;

/** Removes what is older than `graceMs` and leads nowhere; what it removed, or with `dryRun` would have. */
export async function collectGarbage(store: BlobStore, options: SweepOptions): Promise<GarbageReport> {
  const parts = await sweepOrphans(store, options);
  const { signal, isInUse, dryRun } = options;
  const olderThanMs = (options.nowMs ?? Date.now()) - options.graceMs;
  let removedRequests = 0;
  let removedRequestBytes = 0;
  for await (const key of leftovers(store, signal)) {
    const contextId = REQUEST_KEY.exec(key)?.groups?.["contextId"];
    const stat = contextId === undefined ? undefined : await store.stat(key, { signal });
    if (contextId === undefined || stat?.modifiedMs === undefined || stat.modifiedMs > olderThanMs) continue;
    if ((await isInUse?.(contextId)) === true) continue;
    if (dryRun !== true) await store.delete(key, { signal });
    removedRequests++;
    removedRequestBytes += stat.bytes;
  }
  return { ...parts, removedRequests, removedRequestBytes };
}

async function* leftovers(store: BlobStore, signal: AbortSignal | undefined): AsyncGenerator<string> {
  for (const prefix of [BUILD_REQUESTS_PREFIX, CHECKPOINTS_PREFIX]) yield* store.list(prefix, { signal });
}
