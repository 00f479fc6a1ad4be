/**
 * From a job to a record: takes jobs to prefill workers, and what comes of them to the catalogue.
 *
 * The two halves meet only through the queue, so that with a shared queue one gateway may run the
 * build that another one accepted.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import {
  type BuildRequestSchema,
  CompressionReportSchema,
  create,
  fromJson,
  type MessageInitShape,
  Progress_Phase,
  ProgressSchema,
  type RpcLogger,
  toJson,
} from "@kvault/rpc";
import type { ContextCatalogue, ContextRecord, ContextState } from "../catalogue/context-catalogue.ts";
import { contentBytes, contentMessage } from "../validation/content.ts";
import type { DecodePool } from "../workers/decode-pool.ts";
import type { PrefillPool } from "../workers/prefill-pool.ts";
import type { BuildJob, BuildQueue } from "./build-job.ts";

export interface BuilderDeps {
  readonly catalogue: ContextCatalogue;
  readonly queue: BuildQueue;
  readonly prefill: PrefillPool;
  readonly decode: Pick<DecodePool, "warm">;
  readonly log: RpcLogger;
  /** Most bytes of texts waiting or being built. */
  readonly maxQueuedBytes: number;
  /** Secret in the digests of a tenant's contexts: it joins the job on its way to a worker. */
  saltOf(tenant: string): string;
}

export class Builder {
  readonly #deps: BuilderDeps;
  readonly #following = new Set<Promise<void>>();
  #queuedBytes = 0;

  constructor(deps: BuilderDeps) {
    this.#deps = deps;
  }

  /** Starts taking jobs from the queue. */
  start(): void {
    const { queue, prefill, saltOf } = this.#deps;
    queue.process(
      async (job, { signal, attempt, waitedMs, onProgress }) => {
        const report = await prefill.build(
          { ...requestOf(job), tenantSalt: saltOf(job.tenant) },
          {
            signal,
            requestId: job.buildId,
            onProgress: (progress) => {
              const restarts = progress.restarts + attempt - 1;
              onProgress(toJson(ProgressSchema, create(ProgressSchema, { ...progress, restarts })));
            },
          },
        );
        if (report.seconds !== undefined) report.seconds.queue = waitedMs / 1000;
        return toJson(CompressionReportSchema, report);
      },
      { concurrency: Math.max(1, prefill.size) },
    );
  }

  /** Queues the build of `record` and keeps the catalogue up to date until it is over. NO_CAPACITY when too much waits. */
  async submit(record: ContextRecord, job: BuildJob): Promise<void> {
    const { queue, maxQueuedBytes } = this.#deps;
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
    try {
      await queue.add(job, { key: job.digest });
    } catch (error) {
      this.#queuedBytes -= bytes;
      throw error;
    }
    const following = this.#follow(record, job.digest).finally(() => {
      this.#queuedBytes -= bytes;
      this.#following.delete(following);
    });
    this.#following.add(following);
  }

  /** Resolves when the news of all builds are in the catalogue; after the queue was closed. */
  async settle(): Promise<void> {
    await Promise.all(this.#following);
  }

  async #follow(record: ContextRecord, key: string): Promise<void> {
    const { catalogue, queue, decode, log } = this.#deps;
    const ids = { contextId: record.id, buildId: record.buildId, model: record.model };
    const lost = (cause?: unknown): ContextState => {
      return { type: "failed", error: new KvaultError("INTERNAL", "Cannot tell how the build ended", { cause }) };
    };
    let ended = false;
    try {
      for await (const event of queue.watch(key)) {
        ended = event.type === "completed" || event.type === "failed";
        switch (event.type) {
          case "waiting":
            await catalogue.change(record, creating({ phase: Progress_Phase.QUEUED, restarts: event.attempt - 1 }));
            break;
          case "running":
            if (event.progress !== undefined) await catalogue.change(record, creating(fromJson(ProgressSchema, event.progress)));
            break;
          case "completed":
            if (await catalogue.change(record, { type: "active", report: fromJson(CompressionReportSchema, event.result) })) {
              // Nobody waits for it: a context that could not be warmed is loaded by its first question.
              void decode.warm(record);
            }
            log.info(ids, "context built");
            break;
          case "failed":
            await catalogue.change(record, { type: "failed", error: event.error });
            log.warn({ ...ids, code: event.error.code, err: event.error }, "context build failed");
            break;
        }
      }
      if (!ended) await catalogue.change(record, lost());
    } catch (error) {
      log.error({ ...ids, err: error }, "build lost from sight");
      await catalogue.change(record, lost(error));
    }
  }
}

/** The state of a build that has just got that far. */
export function creating(progress: MessageInitShape<typeof ProgressSchema>): ContextState {
  return { type: "creating", progress: create(ProgressSchema, progress) };
}

function requestOf({
  content,
  createTimeMs,
  expireTimeMs,
  buildId: _,
  ...job
}: BuildJob): MessageInitShape<typeof BuildRequestSchema> {
  return {
    ...job,
    createTimeMs: BigInt(createTimeMs),
    expireTimeMs: BigInt(expireTimeMs),
    content: contentMessage(content),
  };
}
