/**
 * Configuration of a prefill worker process, from `KVAULT_*` variables: checked whole, frozen,
 * passed down by argument.
 *
 * @module
 */
import { readVariables, type WorkerSettings, wholeNumber, workerSettings, workerVariables } from "@kvault/service";
import { z } from "zod";

const schema = z.object({
  /** Where to listen: `host:port` or `unix:/path`. */
  KVAULT_WORKER_ADDRESS: z.string().min(1).default("127.0.0.1:7718"),
  ...workerVariables,
  /** A queue that builds are taken from, `redis://host:port/database`; `local:`: gateways bring them. */
  KVAULT_QUEUE_URL: z.string().min(1).default("local:"),
  /** Contexts of so many tokens and more keep checkpoints of their prefill in the store; 0: none do. */
  KVAULT_CHECKPOINT_TOKENS: wholeNumber(0).default(16_384),
  /** Builds that may wait behind the one that runs. */
  KVAULT_MAX_WAITING_BUILDS: wholeNumber(0).default(2),
  /** Time for builds to finish at a stop, milliseconds. */
  KVAULT_DRAIN_MS: wholeNumber(0).default(120_000),
});

export interface PrefillWorkerConfig extends WorkerSettings {
  readonly address: string;
  readonly queueUrl: string;
  readonly checkpointTokens?: number;
  readonly maxWaitingBuilds: number;
  readonly drainMs: number;
}

/** INVALID_ARGUMENT listing every problem of `env`, unknown KVAULT_* names included. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): PrefillWorkerConfig {
  const data = readVariables("prefill worker", schema, env);
  return Object.freeze({
    ...workerSettings(data),
    address: data.KVAULT_WORKER_ADDRESS,
    queueUrl: data.KVAULT_QUEUE_URL,
    ...(data.KVAULT_CHECKPOINT_TOKENS === 0 ? {} : { checkpointTokens: data.KVAULT_CHECKPOINT_TOKENS }),
    maxWaitingBuilds: data.KVAULT_MAX_WAITING_BUILDS,
    drainMs: data.KVAULT_DRAIN_MS,
  });
}
