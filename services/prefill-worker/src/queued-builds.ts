/**
 * Builds that this worker takes from a shared queue by itself.
 *
 * The queue carries a reference; the request, text included, lies in the store. Of two workers
 * that think a build theirs (one was paused, and its job given away) only the holder of the
 * build's lease may commit: the engine asks just before, and whoever lost the lease ends there.
 * A worker that died is waited for until its lease runs out.
 *
 * @module
 */
import { type Leases, type QueuedBuild, readQueuedBuild, waitForLease } from "@kvault/cluster";
import { isKvaultError, KvaultError } from "@kvault/core";
import { type BlobStore, type ContextManifest, type KeyRing, readBuildRequest, readManifest } from "@kvault/kvstore";
import type { JobCall, JobQueue } from "@kvault/queue";
import {
  BuildRequestSchema,
  CompressionReportSchema,
  create,
  fromBinary,
  type JsonValue,
  ProgressSchema,
  type RpcLogger,
  toJson,
} from "@kvault/rpc";
import type { Engine } from "@kvault/runtime";
import { measured } from "./build-metrics.ts";
import { progressMessage, readBuildRequest as readRequest, reportMessage } from "./rpc/build-messages.ts";

/** CompressionReport and Progress as proto JSON. */
export type SharedBuildQueue = JobQueue<QueuedBuild, JsonValue, JsonValue>;

export interface QueuedBuildDeps {
  readonly engine: Pick<Engine, "build">;
  readonly store: BlobStore;
  /** Opens requests that were sealed while they waited. */
  readonly keys: Pick<KeyRing, "openRequest">;
  readonly leases: Leases;
  readonly log: RpcLogger;
}

/** A builder that died is missed after this long: before the queue gives its job to another one. */
const LEASE_MS = 10_000;
/** Longer than a dead builder's lease. */
const LEASE_WAIT_MS = 20_000;

/** Takes builds from `queue`, one at a time. */
export function takeBuilds(queue: SharedBuildQueue, deps: QueuedBuildDeps): void {
  queue.process((job, call) => runQueuedBuild(job, call, deps), { concurrency: 1 });
}

/** Runs one build; its report once the manifest is committed. */
async function runQueuedBuild(job: QueuedBuild, call: JobCall<JsonValue>, deps: QueuedBuildDeps): Promise<JsonValue> {
  const { engine, store, keys, leases, log } = deps;
  const { contextId, tenant, buildId, request: ref } = readQueuedBuild(job);
  if (ref === undefined) throw new KvaultError("INCOMPATIBLE_FORMAT", "Cannot take build from the queue: it has no request");
  const { attempt, waitedMs } = call;
  log.info({ contextId, buildId, attempt }, "build taken");
  const { signal } = call;
  const waiting = await readBuildRequest(store, ref, { signal }).catch(async (error: unknown) => {
    if (!isKvaultError(error, "CONTEXT_NOT_FOUND")) throw error;
    return committedBefore(store, job, error);
  });
  if (!(waiting instanceof Uint8Array)) {
    log.info({ contextId, buildId, attempt }, "build was committed before");
    return toJson(CompressionReportSchema, create(CompressionReportSchema, reportMessage(waiting)));
  }
  const message = fromBinary(BuildRequestSchema, await keys.openRequest(waiting, tenant, contextId, { signal }));
  const lease = await waitForLease(leases, `build.${contextId}`, { ttlMs: LEASE_MS, waitMs: LEASE_WAIT_MS, signal });
  try {
    const { manifest } = await measured(
      engine.build(readRequest(message), {
        signal: AbortSignal.any([signal, lease.lost]),
        onProgress: (progress) => {
          const told = create(ProgressSchema, { ...progressMessage(progress), restarts: attempt - 1 });
          call.onProgress(toJson(ProgressSchema, told));
        },
        beforeCommit: () => lease.check(),
      }),
    );
    const report = create(CompressionReportSchema, reportMessage(manifest));
    if (report.seconds !== undefined) report.seconds.queue = waitedMs / 1000;
    // Best effort: what stays is collected as garbage.
    await store.delete(ref.key).catch(() => undefined);
    log.info({ contextId, buildId, attempt }, "build committed");
    return toJson(CompressionReportSchema, report);
  } catch (error) {
    log.warn({ contextId, buildId, attempt, err: error }, "build not finished");
    throw error;
  } finally {
    await lease.release();
  }
}

/** The record of a build that was committed, and whose worker died before the queue knew; else `error`: the text is gone. */
async function committedBefore(
  store: BlobStore,
  { contextId, digest }: QueuedBuild,
  error: KvaultError,
): Promise<ContextManifest> {
  const manifest = await readManifest(store, contextId).catch((cause: unknown) => {
    throw isKvaultError(cause, "CONTEXT_NOT_FOUND") ? error : cause;
  });
  if (manifest.digest !== digest) throw error;
  return manifest;
}
