/**
 * Configuration of a decode worker process, from `KVAULT_*` variables: checked whole, frozen,
 * passed down by argument.
 *
 * @module
 */
import { readVariables, type WorkerSettings, wholeNumber, workerSettings, workerVariables } from "@kvault/service";
import { z } from "zod";

const schema = z.object({
  /** Where to listen: `host:port` or `unix:/path`. */
  KVAULT_WORKER_ADDRESS: z.string().min(1).default("127.0.0.1:7719"),
  ...workerVariables,
  /** Memory for resident contexts; the least recently used one goes when it is full. */
  KVAULT_RESIDENT_BYTES: wholeNumber(1).default(2 * 2 ** 30),
  /** Queries answered at the same time; more are told to try again. */
  KVAULT_MAX_QUERIES: wholeNumber(1).default(64),
  /** Time for answers to finish at a stop, milliseconds. */
  KVAULT_DRAIN_MS: wholeNumber(0).default(30_000),
});

export interface DecodeWorkerConfig extends WorkerSettings {
  readonly address: string;
  readonly residentBytes: number;
  readonly maxQueries: number;
  readonly drainMs: number;
}

/** INVALID_ARGUMENT listing every problem of `env`, unknown KVAULT_* names included. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): DecodeWorkerConfig {
  const data = readVariables("decode worker", schema, env);
  return Object.freeze({
    ...workerSettings(data),
    address: data.KVAULT_WORKER_ADDRESS,
    residentBytes: data.KVAULT_RESIDENT_BYTES,
    maxQueries: data.KVAULT_MAX_QUERIES,
    drainMs: data.KVAULT_DRAIN_MS,
  });
}
