/**
 * From a request to a record: what a build is made of to those who build, and what comes of it to
 * the catalogue.
 *
 * With a queue of this process (`local:`) the gateway takes the jobs itself and hands them to
 * prefill workers. With a shared queue workers take them; the request lies in the store
 * meanwhile, and the queue carries a reference.
 *
 * Somebody must bring the news of a build into the catalogue. That gateway holds a lease named
 * after the build; when it dies, another one finds the build without a holder and goes on
 * ({@link Builder.adopt}), so a build that nobody knows any more ends as FAILED and not as CREATING
 * for ever.
 *
 * @module
 */
import { setTimeout } from "node:timers/promises";
import type { Lease, Leases, QueuedBuild } from "@kvault/cluster";
import { isKvaultError, KvaultError } from "@kvault/core";
import { type BlobStore, deleteBuildRequest, type KeyRing, putBuildRequest, readManifest } from "@kvault/kvstore";
import {
  BuildRequestSchema,
  type CompressionReport,
  CompressionReportSchema,
  create,
  fromJson,
  type MessageInitShape,
  Progress_Phase,
  ProgressSchema,
  type RpcLogger,
  toBinary,
  toJson,
} from "@kvault/rpc";
import { count } from "@kvault/telemetry";
import type { ContextCatalogue, ContextRecord, ContextState } from "../catalogue/context-catalogue.ts";
import { reportOf } from "../catalogue/from-manifest.ts";
import { contentBytes, contentMessage } from "../validation/content.ts";
import type { DecodePool } from "../workers/decode-pool.ts";
import type { PrefillPool } from "../workers/prefill-pool.ts";
import type { BuildJob, BuildQueue } from "./build-job.ts";

/** How long a built context is held back while a decode worker loads it. */
const WARM_WAIT_MS = 2_000;

export interface BuilderDeps {
  readonly catalogue: ContextCatalogue;
  readonly queue: BuildQueue;
  readonly store: BlobStore;
  /** Seals requests that wait in the store. */
  readonly keys: Pick<KeyRing, "sealRequest">;
  readonly leases: Leases;
  readonly prefill: PrefillPool;
  readonly decode: Pick<DecodePool, "warm">;
  readonly log: RpcLogger;
  /** Most bytes of texts waiting or being built. */
  readonly maxQueuedBytes: number;
  /** Told of every build that ended well. */
  readonly onBuilt?: (report: CompressionReport) => void;
  /** Secret in the digests of a tenant's contexts: it joins the job on its way to a worker. */
  saltOf(tenant: string): string;
}

type BuildRequestInit = MessageInitShape<typeof BuildRequestSchema>;

/** A gateway that died is missed after this long. */
const NEWS_LEASE_MS = 10_000;

export class Builder {
  readonly #deps: BuilderDeps;
  /** By build id. */
  readonly #following = new Map<string, Promise<void>>();
  /** Requests of builds in a queue of this process, by build id. */
  readonly #requests = new Map<string, BuildRequestInit>();
  #queuedBytes = 0;
  #leaving = false;

  constructor(deps: BuilderDeps) {
    this.#deps = deps;
  }

  /** Starts taking jobs from the queue, unless workers do so themselves. */
  start(): void {
    const { queue, prefill } = this.#deps;
    if (queue.abilities.durable) return;
    queue.process(
      async (job, { signal, attempt, waitedMs, onProgress }) => {
        const request = this.#requests.get(job.buildId);
        if (request === undefined) throw new KvaultError("INTERNAL", "Cannot build: the request is gone");
        const report = await prefill.build(request, {
          signal,
          requestId: job.buildId,
          onProgress: (progress) => {
            const restarts = progress.restarts + attempt - 1;
            onProgress(toJson(ProgressSchema, create(ProgressSchema, { ...progress, restarts })));
          },
        });
        if (report.seconds !== undefined) report.seconds.queue = waitedMs / 1000;
        return toJson(CompressionReportSchema, report);
      },
      { concurrency: Math.max(1, prefill.size) },
    );
  }

  /** Queues the build of `record` and keeps the catalogue up to date until it is over. NO_CAPACITY when too much waits. */
  async submit(record: ContextRecord, job: BuildJob): Promise<void> {
    const { maxQueuedBytes } = this.#deps;
    const bytes = contentBytes(job.content);
    if (this.#queuedBytes + bytes > maxQueuedBytes && this.#queuedBytes > 0) {
      throw new KvaultError(
        "NO_CAPACITY",
        `Cannot queue the build: ${this.#queuedBytes} bytes of text wait already, at most ${maxQueuedBytes}`,
        {
          details: { queuedBytes: this.#queuedBytes, limitBytes: maxQueuedBytes },
        },
      );
    }
    this.#queuedBytes += bytes;
    const done = (): void => {
      this.#queuedBytes -= bytes;
      this.#requests.delete(job.buildId);
    };
    let lease: Lease | undefined;
    try {
      lease = await this.#newsLease(job.buildId);
      if (lease === undefined)
        throw new KvaultError("NO_CAPACITY", "Cannot queue the build: another gateway gave it up meanwhile");
      await this.#enqueue(job);
    } catch (error) {
      done();
      await lease?.release();
      throw error;
    }
    void this.#startFollowing(record, lease).then(done);
  }

  /** Takes up the news of builds whose gateway is gone. For a shared queue and catalogue; call it every few seconds. */
  async adopt(): Promise<void> {
    const { catalogue, queue, log } = this.#deps;
    if (!queue.abilities.durable) return;
    for (const record of await catalogue.building()) {
      if (this.#leaving || this.#following.has(record.buildId)) continue;
      // Perhaps not in the queue yet: what the queue knows under its key would be an earlier build.
      if (Date.now() - record.createTimeMs < NEWS_LEASE_MS) continue;
      const lease = await this.#newsLease(record.buildId);
      if (lease === undefined) continue;
      log.info({ contextId: record.id, buildId: record.buildId }, "build taken over from another gateway");
      void this.#startFollowing(record, lease);
    }
  }

  /** From now on builds that do not end here are left to other gateways; before the queue is closed. */
  leave(): void {
    this.#leaving = true;
  }

  /** Resolves when the news of all builds are in the catalogue; after the queue was closed. */
  async settle(): Promise<void> {
    await Promise.all(this.#following.values());
  }

  #newsLease(buildId: string): Promise<Lease | undefined> {
    return this.#deps.leases.acquire(`news.${buildId}`, { ttlMs: NEWS_LEASE_MS });
  }

  async #enqueue(job: BuildJob): Promise<void> {
    const { queue, store, keys, saltOf } = this.#deps;
    const { contextId, tenant, digest, model, buildId } = job;
    const request: BuildRequestInit = { ...requestOf(job), tenantSalt: saltOf(tenant) };
    const build: QueuedBuild = { contextId, tenant, digest, model, buildId };
    if (!queue.abilities.durable) {
      this.#requests.set(buildId, request);
      await queue.add(build, { key: digest });
      return;
    }
    const bytes = toBinary(BuildRequestSchema, create(BuildRequestSchema, request));
    const ref = await putBuildRequest(store, job, await keys.sealRequest(bytes, tenant, contextId));
    const { added } = await queue.add({ ...build, request: ref }, { key: digest });
    // The job that was there has a request of its own.
    if (!added) await store.delete(ref.key).catch(() => undefined);
  }

  #startFollowing(record: ContextRecord, lease: Lease): Promise<void> {
    const following = this.#follow(record).finally(async () => {
      await lease.release();
      this.#following.delete(record.buildId);
    });
    this.#following.set(record.buildId, following);
    return following;
  }

  /** Brings the news of a build into the catalogue. Never rejects. */
  async #follow(record: ContextRecord): Promise<void> {
    const { catalogue, queue, log } = this.#deps;
    const ids = { contextId: record.id, buildId: record.buildId, model: record.model };
    let ended = false;
    try {
      for await (const event of queue.watch(record.digest)) {
        ended = event.type === "completed" || event.type === "failed";
        switch (event.type) {
          case "waiting":
            await catalogue.change(record, queuedAgain(record, event.attempt - 1));
            break;
          case "running":
            if (event.progress !== undefined) await catalogue.change(record, creating(fromJson(ProgressSchema, event.progress)));
            break;
          case "completed": {
            // A shared queue may only know an earlier build of the same text, whose record was deleted since.
            const missing = queue.abilities.durable ? await this.#unlessStored(record) : undefined;
            if (missing === undefined) await this.#warm(record);
            const report = fromJson(CompressionReportSchema, event.result);
            await catalogue.change(record, missing ?? { type: "active", report });
            if (missing === undefined) this.#deps.onBuilt?.(report);
            count("kvault_builds_total", 1, { outcome: missing === undefined ? "ok" : "INTERNAL" });
            log.info(ids, missing === undefined ? "context built" : "context build unknown");
            break;
          }
          case "failed":
            await catalogue.change(record, { type: "failed", error: event.error });
            count("kvault_builds_total", 1, { outcome: event.error.code });
            log.warn({ ...ids, code: event.error.code, err: event.error }, "context build failed");
            break;
        }
      }
      // A text is not kept longer than its build; what stays all the same is collected as garbage.
      if (ended && queue.abilities.durable)
        await deleteBuildRequest(this.#deps.store, { contextId: record.id, buildId: record.buildId }).catch(() => undefined);
      if (!ended && !this.#leaving) await catalogue.change(record, await this.#unknownEnd(record));
    } catch (error) {
      log.error({ ...ids, err: error }, "build lost from sight");
      // With a shared queue the build goes on, and whoever adopts it tells how it ended.
      if (!queue.abilities.durable) await catalogue.change(record, lost(error)).catch(() => undefined);
    }
  }

  /**
   * Lets a decode worker load the context before it is announced, so that its first question finds
   * it resident. Waited for a moment only: one that takes longer is loaded meanwhile, and one that
   * could not be warmed is loaded by its first question.
   */
  async #warm(record: ContextRecord): Promise<void> {
    const patience = new AbortController();
    const waited = setTimeout(WARM_WAIT_MS, undefined, { ref: false, signal: patience.signal }).catch(() => undefined);
    await Promise.race([this.#deps.decode.warm(record), waited]);
    patience.abort();
  }

  /** The failure of a build that has no record; undefined when it has. */
  async #unlessStored(record: ContextRecord): Promise<ContextState | undefined> {
    const state = await this.#unknownEnd(record);
    return state.type === "active" ? undefined : state;
  }

  /** What became of a build that the queue does not know: its record tells. */
  async #unknownEnd(record: ContextRecord): Promise<ContextState> {
    try {
      const manifest = await readManifest(this.#deps.store, record.id);
      if (manifest.digest === record.digest) return { type: "active", report: reportOf(manifest) };
    } catch (error) {
      if (!isKvaultError(error, "CONTEXT_NOT_FOUND", "CACHE_CORRUPT", "INCOMPATIBLE_FORMAT")) throw error;
    }
    return lost();
  }
}

function lost(cause?: unknown): ContextState {
  const options = cause === undefined ? {} : { cause };
  return {
    type: "failed",
    error: new KvaultError("ENGINE_DIED", "Cannot tell how the build ended: create the context again", options),
  };
}

/** Waiting, with the tokens that its text is expected to have. */
function queuedAgain({ state }: ContextRecord, restarts: number): ContextState {
  const isQueued = state.type === "creating" && state.progress.phase === Progress_Phase.QUEUED;
  return creating({ phase: Progress_Phase.QUEUED, restarts, total: isQueued ? state.progress.total : 0 });
}

/** The state of a build that has just got that far. */
export function creating(progress: MessageInitShape<typeof ProgressSchema>): ContextState {
  return { type: "creating", progress: create(ProgressSchema, progress) };
}

function requestOf({ content, createTimeMs, expireTimeMs, buildId: _, ...job }: BuildJob): BuildRequestInit {
  return {
    ...job,
    createTimeMs: BigInt(createTimeMs),
    expireTimeMs: BigInt(expireTimeMs),
    content: contentMessage(content),
  };
}
