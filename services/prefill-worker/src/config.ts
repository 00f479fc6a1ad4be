/**
 * Configuration of a prefill worker process, from `KVAULT_*` variables: checked whole, frozen,
 * passed down by argument.
 *
 * @module
 */
import { availableParallelism } from "node:os";
import { KvaultError, unknownVariables } from "@kvault/core";
import { type SecuritySettings, securitySettings } from "@kvault/rpc";
import { z } from "zod";

const wholeNumber = (min: number): z.ZodType<number> => z.coerce.number().int().min(min);

const schema = z.object({
  /** Where to listen: `host:port` or `unix:/path`. */
  KVAULT_WORKER_ADDRESS: z.string().min(1).default("127.0.0.1:7718"),
  /** Where records go, e.g. `file:/var/lib/kvault`. Gateway and decode workers must have the same. */
  KVAULT_STORE_URL: z.string().min(1),
  /** Master keys that wrap tenants' keys: parts are sealed. Every worker needs it once one has it. */
  KVAULT_MASTER_KEY_FILE: z.string().min(1).optional(),
  /** Ask callers for tokens: `on`, `off`, or `auto`: with an access file, and wherever others can reach the address. */
  KVAULT_AUTH: z.enum(["auto", "on", "off"]).default("auto"),
  /** Access file: tenants and hashes of their tokens; see `kvault token`. Read again when it changes. */
  KVAULT_TOKENS_FILE: z.string().min(1).optional(),
  /** Certificate shown to callers, PEM file. Read again when it changes, with its key. */
  KVAULT_TLS_CERT_FILE: z.string().min(1).optional(),
  /** Key of the certificate, PEM file. */
  KVAULT_TLS_KEY_FILE: z.string().min(1).optional(),
  /** Authorities whose callers alone are let in (mutual TLS), PEM file. */
  KVAULT_TLS_CLIENT_CA_FILE: z.string().min(1).optional(),
  /** `true`: speak without TLS on addresses that others can reach. For networks that encrypt by themselves. */
  KVAULT_ALLOW_PLAINTEXT: z.enum(["true", "false"]).default("false"),
  /** Where health alone is served too, in plaintext and without tokens, e.g. for Kubernetes' gRPC probes. */
  KVAULT_HEALTH_ADDRESS: z.string().min(1).optional(),
  /** Folder of model files and generated graphs. */
  KVAULT_CACHE_DIR: z.string().min(1),
  /** `true`: never download a model. */
  KVAULT_OFFLINE: z.enum(["true", "false"]).default("false"),
  /** Threads of one run. All processors when absent. */
  KVAULT_THREADS: wholeNumber(1).default(availableParallelism()),
  /** Activations inside matrix products: `int8`, or `f32` (slower, for accuracy studies). */
  KVAULT_ACTIVATIONS: z.enum(["int8", "f32"]).default("int8"),
  /** A queue that builds are taken from, `redis://host:port/database`; `local:`: gateways bring them. */
  KVAULT_QUEUE_URL: z.string().min(1).default("local:"),
  /** Where this worker registers and leases are kept: `memory:` (gateways name it themselves), or `redis://host:port/database`. */
  KVAULT_REGISTRY_URL: z.string().min(1).default("memory:"),
  /** Where gateways reach this worker, when it is not as it listens. */
  KVAULT_ADVERTISE_ADDRESS: z.string().min(1).optional(),
  /** Contexts of so many tokens and more keep checkpoints of their prefill in the store; 0: none do. */
  KVAULT_CHECKPOINT_TOKENS: wholeNumber(0).default(16_384),
  /** Builds that may wait behind the one that runs. */
  KVAULT_MAX_WAITING_BUILDS: wholeNumber(0).default(2),
  /** Time for builds to finish at a stop, milliseconds. */
  KVAULT_DRAIN_MS: wholeNumber(0).default(120_000),
  /** trace, debug, info, warn, error, fatal or silent. */
  KVAULT_LOG_LEVEL: z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).default("info"),
});

export interface PrefillWorkerConfig {
  readonly address: string;
  readonly storeUrl: string;
  readonly masterKeyFile?: string;
  readonly security: SecuritySettings;
  readonly cacheDir: string;
  readonly offline: boolean;
  readonly numThreads: number;
  readonly activations: "int8" | "f32";
  readonly queueUrl: string;
  readonly registryUrl: string;
  readonly advertiseAddress?: string;
  readonly checkpointTokens?: number;
  readonly maxWaitingBuilds: number;
  readonly drainMs: number;
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
}

/** INVALID_ARGUMENT listing every problem of `env`, unknown KVAULT_* names included. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): PrefillWorkerConfig {
  const problems = unknownVariables(env).map((name) => `${name}: no such variable`);
  const parsed = schema.safeParse(env);
  if (!parsed.success) problems.push(...parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`));
  if (!parsed.success || problems.length > 0) {
    throw new KvaultError("INVALID_ARGUMENT", `Cannot start the prefill worker: ${problems.join("; ")}`, {
      details: { problems: problems.length },
    });
  }
  const { data } = parsed;
  return Object.freeze({
    address: data.KVAULT_WORKER_ADDRESS,
    storeUrl: data.KVAULT_STORE_URL,
    ...(data.KVAULT_MASTER_KEY_FILE === undefined ? {} : { masterKeyFile: data.KVAULT_MASTER_KEY_FILE }),
    security: securitySettings(data),
    cacheDir: data.KVAULT_CACHE_DIR,
    offline: data.KVAULT_OFFLINE === "true",
    numThreads: data.KVAULT_THREADS,
    activations: data.KVAULT_ACTIVATIONS,
    queueUrl: data.KVAULT_QUEUE_URL,
    registryUrl: data.KVAULT_REGISTRY_URL,
    ...(data.KVAULT_ADVERTISE_ADDRESS === undefined ? {} : { advertiseAddress: data.KVAULT_ADVERTISE_ADDRESS }),
    ...(data.KVAULT_CHECKPOINT_TOKENS === 0 ? {} : { checkpointTokens: data.KVAULT_CHECKPOINT_TOKENS }),
    maxWaitingBuilds: data.KVAULT_MAX_WAITING_BUILDS,
    drainMs: data.KVAULT_DRAIN_MS,
    logLevel: data.KVAULT_LOG_LEVEL,
  });
}
