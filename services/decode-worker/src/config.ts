/**
 * Configuration of a decode worker process, from `KVAULT_*` variables: checked whole, frozen,
 * passed down by argument.
 *
 * @module
 */
import { availableParallelism } from "node:os";
import { KvaultError, unknownVariables } from "@kvault/core";
import { z } from "zod";

const wholeNumber = (min: number): z.ZodType<number> => z.coerce.number().int().min(min);

const schema = z.object({
  /** Where to listen: `host:port` or `unix:/path`. */
  KVAULT_WORKER_ADDRESS: z.string().min(1).default("127.0.0.1:7719"),
  /** Where records are, e.g. `file:/var/lib/kvault`. Gateway and prefill workers must have the same. */
  KVAULT_STORE_URL: z.string().min(1),
  /** Folder of model files and generated graphs. */
  KVAULT_CACHE_DIR: z.string().min(1),
  /** `true`: never download a model. */
  KVAULT_OFFLINE: z.enum(["true", "false"]).default("false"),
  /** Threads of one run. All processors when absent. */
  KVAULT_THREADS: wholeNumber(1).default(availableParallelism()),
  /** Activations inside matrix products: `int8`, or `f32` (slower, for accuracy studies). */
  KVAULT_ACTIVATIONS: z.enum(["int8", "f32"]).default("int8"),
  /** Where this worker registers and leases are kept: `memory:` (gateways name it themselves), or `redis://host:port/database`. */
  KVAULT_REGISTRY_URL: z.string().min(1).default("memory:"),
  /** Where gateways reach this worker, when it is not as it listens. */
  KVAULT_ADVERTISE_ADDRESS: z.string().min(1).optional(),
  /** Memory for resident contexts; the least recently used one goes when it is full. */
  KVAULT_RESIDENT_BYTES: wholeNumber(1).default(2 * 2 ** 30),
  /** Queries answered at the same time; more are told to try again. */
  KVAULT_MAX_QUERIES: wholeNumber(1).default(64),
  /** Time for answers to finish at a stop, milliseconds. */
  KVAULT_DRAIN_MS: wholeNumber(0).default(30_000),
  /** trace, debug, info, warn, error, fatal or silent. */
  KVAULT_LOG_LEVEL: z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).default("info"),
});

export interface DecodeWorkerConfig {
  readonly address: string;
  readonly storeUrl: string;
  readonly cacheDir: string;
  readonly offline: boolean;
  readonly numThreads: number;
  readonly activations: "int8" | "f32";
  readonly registryUrl: string;
  readonly advertiseAddress?: string;
  readonly residentBytes: number;
  readonly maxQueries: number;
  readonly drainMs: number;
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
}

/** INVALID_ARGUMENT listing every problem of `env`, unknown KVAULT_* names included. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): DecodeWorkerConfig {
  const problems = unknownVariables(env).map((name) => `${name}: no such variable`);
  const parsed = schema.safeParse(env);
  if (!parsed.success) problems.push(...parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`));
  if (!parsed.success || problems.length > 0) {
    throw new KvaultError("INVALID_ARGUMENT", `Cannot start the decode worker: ${problems.join("; ")}`, {
      details: { problems: problems.length },
    });
  }
  const { data } = parsed;
  return Object.freeze({
    address: data.KVAULT_WORKER_ADDRESS,
    storeUrl: data.KVAULT_STORE_URL,
    cacheDir: data.KVAULT_CACHE_DIR,
    offline: data.KVAULT_OFFLINE === "true",
    numThreads: data.KVAULT_THREADS,
    activations: data.KVAULT_ACTIVATIONS,
    registryUrl: data.KVAULT_REGISTRY_URL,
    ...(data.KVAULT_ADVERTISE_ADDRESS === undefined ? {} : { advertiseAddress: data.KVAULT_ADVERTISE_ADDRESS }),
    residentBytes: data.KVAULT_RESIDENT_BYTES,
    maxQueries: data.KVAULT_MAX_QUERIES,
    drainMs: data.KVAULT_DRAIN_MS,
    logLevel: data.KVAULT_LOG_LEVEL,
  });
}
