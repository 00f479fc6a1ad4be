/**
 * The gateway, wired: used by the process entry (main.ts) and, for the embedded mode, by whoever
 * starts all services in one process. Reads no environment and touches no process state.
 *
 * @module
 */
import { type BlobStore, openStore } from "@kvault/kvstore";
import { type ModelHub, openHub } from "@kvault/model";
import { openQueue, type QueueOptions } from "@kvault/queue";
import { type CloseOptions, type JsonValue, type RpcLogger, requestLog, startServer } from "@kvault/rpc";
import { Admission } from "./admission/admission.ts";
import type { BuildJob } from "./builds/build-job.ts";
import { Builder } from "./builds/builder.ts";
import { fillFromStore } from "./catalogue/from-manifest.ts";
import { MemoryCatalogue } from "./catalogue/memory.ts";
import { Remover } from "./catalogue/remover.ts";
import { gatewayServices } from "./rpc/services.ts";
import { DecodePool } from "./workers/decode-pool.ts";
import { PrefillPool } from "./workers/prefill-pool.ts";

export interface GatewayOptions {
  /** `host:port` (port 0: a free one) or `unix:/path`. */
  readonly address: string;
  /** Where records live: a URL, or a store that its owner closes. */
  readonly store: string | BlobStore;
  /** Model catalogue: a cache folder, or a hub. */
  readonly models: string | Pick<ModelHub, "list" | "describe" | "isPresent">;
  /** `local:`. */
  readonly queueUrl: string;
  readonly queue?: QueueOptions;
  /** Addresses of prefill and decode workers; they need not be up yet. */
  readonly prefillWorkers: readonly string[];
  readonly decodeWorkers: readonly string[];
  readonly log: RpcLogger;
  /** Preset or spec of requests that name none; `kvzip`. */
  readonly defaultSpec?: string;
  /** Most bytes of texts waiting or being built; 512 MiB. */
  readonly maxQueuedBytes?: number;
  /** Answers streamed at the same time; 1,024. */
  readonly maxStreams?: number;
  /** How often expired contexts are looked for; 60 s. */
  readonly sweepIntervalMs?: number;
  readonly maxConnectionAgeMs?: number;
  /** Secret in the digests of a tenant's contexts; none when absent. */
  readonly saltOf?: (tenant: string) => string;
}

export interface RunningGateway {
  /** Where it listens, with the real port. */
  readonly address: string;
  /**
   * Takes calls for `noticeMs` more while health says otherwise (0), lets those under way and builds
   * go on for `drainMs` (10 s), then cuts them. Idempotent.
   */
  close(options?: CloseOptions): Promise<void>;
}

const DEFAULT_SPEC = "kvzip";
const DEFAULT_MAX_QUEUED_BYTES = 512 * 2 ** 20;
const DEFAULT_MAX_STREAMS = 1_024;
const DEFAULT_SWEEP_INTERVAL_MS = 60_000;
const DEFAULT_DRAIN_MS = 10_000;

/** Starts the gateway; resolves when it takes calls. Workers that are not up are waited for when they are needed. */
export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  const { log, saltOf = () => "" } = options;
  const models = typeof options.models === "string" ? await openHub({ cacheDir: options.models }) : options.models;
  const store = typeof options.store === "string" ? await openStore(options.store) : options.store;
  const catalogue = new MemoryCatalogue();
  const contexts = await fillFromStore(catalogue, store, log);

  const queue = openQueue<BuildJob, JsonValue, JsonValue>(options.queueUrl, options.queue);
  const prefill = new PrefillPool(options.prefillWorkers);
  const decode = new DecodePool(options.decodeWorkers);
  const maxQueuedBytes = options.maxQueuedBytes ?? DEFAULT_MAX_QUEUED_BYTES;
  const builder = new Builder({ catalogue, queue, prefill, decode, log, maxQueuedBytes, saltOf });
  const remover = new Remover({ catalogue, queue, decode, store, log });
  const admission = new Admission(options.maxStreams ?? DEFAULT_MAX_STREAMS);
  const defaultSpec = options.defaultSpec ?? DEFAULT_SPEC;
  const sweeping = setInterval(() => void remover.sweep(Date.now()), options.sweepIntervalMs ?? DEFAULT_SWEEP_INTERVAL_MS);
  sweeping.unref();

  const release = async (): Promise<void> => {
    clearInterval(sweeping);
    await queue.close({ drainMs: 0 });
    await builder.settle();
    prefill.close();
    decode.close();
    await catalogue.close();
    if (typeof options.store === "string") await store.close();
  };

  const server = await startServer({
    address: options.address,
    services: gatewayServices({ catalogue, queue, builder, remover, decode, admission, store, models, defaultSpec, saltOf }),
    interceptors: [requestLog],
    log,
    ...(options.maxConnectionAgeMs === undefined ? {} : { maxConnectionAgeMs: options.maxConnectionAgeMs }),
  }).catch(async (error: unknown) => {
    await release();
    throw error;
  });
  builder.start();
  // So that the first call finds its workers; those that do not answer are asked again then.
  void Promise.all([prefill.beat(), decode.beat()]);
  log.info({ address: server.address, contexts }, "gateway started");

  let closing: Promise<void> | undefined;
  return {
    address: server.address,
    close({ drainMs = DEFAULT_DRAIN_MS, noticeMs = 0 } = {}) {
      closing ??= Promise.all([server.close({ drainMs, noticeMs }), queue.close({ drainMs: drainMs + noticeMs })]).then(release);
      return closing;
    },
  };
}
