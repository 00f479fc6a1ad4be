/**
 * Everything in a store that nothing leads to any more: parts without a manifest (sweep.ts),
 * attributes without one, what builds that are over left (their requests and their checkpoints),
 * and the ids of requests that nobody sends again.
 *
 * @module
 */

import type { BlobStore } from "./blob-store.ts";
import { BUILD_REQUESTS_PREFIX } from "./build-request.ts";
import { CHECKPOINTS_PREFIX, manifestKey, parseRecordKey, RECORDS_PREFIX } from "./record-layout.ts";
import { REQUEST_IDS_PREFIX } from "./request-ids.ts";
import { type SweepOptions, type SweepReport, sweepOrphans } from "./sweep.ts";

export interface GarbageReport extends SweepReport {
  /** Requests and checkpoints of builds, attributes without a record, ids of old requests. */
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
  for await (const { key, contextId } of leftovers(store, signal)) {
    const stat = await store.stat(key, { signal });
    if (stat?.modifiedMs === undefined || stat.modifiedMs > olderThanMs) continue;
    if (contextId !== undefined && (await isInUse?.(contextId)) === true) continue;
    if (dryRun !== true) await store.delete(key, { signal });
    removedRequests++;
    removedRequestBytes += stat.bytes;
  }
  return { ...parts, removedRequests, removedRequestBytes };
}

interface Leftover {
  readonly key: string;
  /** What may be in use; absent for what only age takes. */
  readonly contextId?: string;
}

async function* leftovers(store: BlobStore, signal: AbortSignal | undefined): AsyncGenerator<Leftover> {
  for (const prefix of [BUILD_REQUESTS_PREFIX, CHECKPOINTS_PREFIX]) {
    for await (const key of store.list(prefix, { signal })) {
      const contextId = REQUEST_KEY.exec(key)?.groups?.["contextId"];
      if (contextId !== undefined) yield { key, contextId };
    }
  }
  for await (const key of store.list(REQUEST_IDS_PREFIX, { signal })) yield { key };
  for await (const key of store.list(RECORDS_PREFIX, { signal })) {
    const { contextId = "", attributes } = parseRecordKey(key) ?? {};
    if (attributes === undefined) continue;
    if ((await store.stat(manifestKey(contextId), { signal })) === undefined) yield { key, contextId };
  }
}
