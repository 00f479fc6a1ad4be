/**
 * The `KVAULT_*` variables that several services read, each described once. A service's `config.ts`
 * spreads them into its own schema; docs/config.md is generated from both.
 *
 * @module
 */
import { availableParallelism } from "node:os";
import { KvaultError, unknownVariables } from "@kvault/core";
import { type SecuritySettings, securitySettings } from "@kvault/rpc";
import { z } from "zod";

export const wholeNumber = (min: number): z.ZodType<number> => z.coerce.number().int().min(min);

type Fields<Values> = { readonly [Name in keyof Values]-?: z.ZodType<Values[Name]> };

interface ServiceVariables {
  readonly KVAULT_STORE_URL: string;
  readonly KVAULT_MASTER_KEY_FILE: string | undefined;
  readonly KVAULT_AUTH: "auto" | "on" | "off";
  readonly KVAULT_TOKENS_FILE: string | undefined;
  readonly KVAULT_TLS_CERT_FILE: string | undefined;
  readonly KVAULT_TLS_KEY_FILE: string | undefined;
  readonly KVAULT_TLS_CLIENT_CA_FILE: string | undefined;
  readonly KVAULT_ALLOW_PLAINTEXT: "true" | "false";
  readonly KVAULT_HEALTH_ADDRESS: string | undefined;
  readonly KVAULT_CACHE_DIR: string;
  readonly KVAULT_REGISTRY_URL: string;
  readonly KVAULT_METRICS_ADDRESS: string | undefined;
  readonly KVAULT_LOG_LEVEL: LogLevel;
}

interface WorkerVariables extends ServiceVariables {
  readonly KVAULT_OFFLINE: "true" | "false";
  readonly KVAULT_THREADS: number;
  readonly KVAULT_ACTIVATIONS: "int8" | "f32";
  readonly KVAULT_DEVICE: "cpu" | "cuda";
  readonly KVAULT_ADVERTISE_ADDRESS: string | undefined;
  readonly KVAULT_PRELOAD_MODEL: string | undefined;
}

/** Of every service. */
export const serviceVariables: Fields<ServiceVariables> = {
  /** Where records are, e.g. `file:/var/lib/kvault`. The same for every service of a cluster. */
  KVAULT_STORE_URL: z.string("not set").min(1),
  /** Master keys that wrap tenants' keys: parts, and texts that wait in a shared queue, are sealed. Every service needs it once one has it. */
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
  /** Folder of model files and generated graphs. The gateway only looks whether they are there. */
  KVAULT_CACHE_DIR: z.string("not set").min(1),
  /** Where workers register and leases are kept: `memory:` (gateways name the workers), or `redis://host:port/database`. The same for every service of a cluster. */
  KVAULT_REGISTRY_URL: z.string().min(1).default("memory:"),
  /** Where metrics can be asked for (`GET /metrics`), by whoever reaches it: `host:port`, or a port of this machine alone. Nowhere when absent. */
  KVAULT_METRICS_ADDRESS: z
    .string()
    .regex(/^(?:(?:\[[0-9a-fA-F:]+\]|[^\s:]*):)?\d{1,5}$/, "not host:port or a port")
    .optional(),
  /** trace, debug, info, warn, error, fatal or silent. */
  KVAULT_LOG_LEVEL: z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).default("info"),
};

/** Of every worker. */
export const workerVariables: Fields<WorkerVariables> = {
  ...serviceVariables,
  /** `true`: never download a model. */
  KVAULT_OFFLINE: z.enum(["true", "false"]).default("false"),
  /** Threads of one run. All processors when absent. */
  KVAULT_THREADS: wholeNumber(1).default(availableParallelism()),
  /** Activations inside matrix products: `int8`, or `f32` (slower, for accuracy studies). */
  KVAULT_ACTIVATIONS: z.enum(["int8", "f32"]).default("int8"),
  /** Where models run: `cpu`, or `cuda` (an NVIDIA GPU and the native addon, see gpu.md). */
  KVAULT_DEVICE: z.enum(["cpu", "cuda"]).default("cpu"),
  /** Where gateways reach this worker, when it is not as it listens. */
  KVAULT_ADVERTISE_ADDRESS: z.string().min(1).optional(),
  /** Model that is open before the worker takes work. Absent: each is opened when it is first asked for. */
  KVAULT_PRELOAD_MODEL: z.string().min(1).optional(),
};

type Environment = Readonly<Record<string, string | undefined>>;

type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";

export interface ServiceSettings {
  readonly storeUrl: string;
  readonly masterKeyFile?: string;
  readonly security: SecuritySettings;
  readonly cacheDir: string;
  readonly registryUrl: string;
  readonly metricsAddress?: string;
  readonly logLevel: LogLevel;
}

export interface WorkerSettings extends ServiceSettings {
  readonly offline: boolean;
  readonly numThreads: number;
  readonly activations: "int8" | "f32";
  readonly device: "cpu" | "cuda";
  readonly advertiseAddress?: string;
  readonly preloadModel?: string;
}

/**
 * `env` as `schema` says. INVALID_ARGUMENT listing every problem, unknown KVAULT_* names and those
 * in `found` included; `title` says what cannot be started.
 */
export function readVariables<Schema extends z.ZodType>(
  title: string,
  schema: Schema,
  env: Environment,
  found: readonly string[] = [],
): z.infer<Schema> {
  const problems = [...unknownVariables(env).map((name) => `${name}: no such variable`), ...found];
  const parsed = schema.safeParse(env);
  if (!parsed.success) problems.push(...parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`));
  if (!parsed.success || problems.length > 0) {
    throw new KvaultError("INVALID_ARGUMENT", `Cannot start the ${title}: ${problems.join("; ")}`, {
      details: { problems: problems.length },
    });
  }
  return parsed.data;
}

export function serviceSettings(data: ServiceVariables): ServiceSettings {
  return {
    storeUrl: data.KVAULT_STORE_URL,
    ...(data.KVAULT_MASTER_KEY_FILE === undefined ? {} : { masterKeyFile: data.KVAULT_MASTER_KEY_FILE }),
    security: securitySettings(data),
    cacheDir: data.KVAULT_CACHE_DIR,
    registryUrl: data.KVAULT_REGISTRY_URL,
    ...(data.KVAULT_METRICS_ADDRESS === undefined ? {} : { metricsAddress: data.KVAULT_METRICS_ADDRESS }),
    logLevel: data.KVAULT_LOG_LEVEL,
  };
}

export function workerSettings(data: WorkerVariables): WorkerSettings {
  return {
    ...serviceSettings(data),
    offline: data.KVAULT_OFFLINE === "true",
    numThreads: data.KVAULT_THREADS,
    activations: data.KVAULT_ACTIVATIONS,
    device: data.KVAULT_DEVICE,
    ...(data.KVAULT_ADVERTISE_ADDRESS === undefined ? {} : { advertiseAddress: data.KVAULT_ADVERTISE_ADDRESS }),
    ...(data.KVAULT_PRELOAD_MODEL === undefined ? {} : { preloadModel: data.KVAULT_PRELOAD_MODEL }),
  };
}
