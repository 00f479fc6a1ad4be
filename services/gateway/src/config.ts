/**
 * Configuration of the gateway process, from `KVAULT_*` variables: checked whole, frozen, passed
 * down by argument.
 *
 * @module
 */
import { KvaultError, unknownVariables } from "@kvault/core";
import { type SecuritySettings, securitySettings, type TlsFiles, tlsFiles } from "@kvault/rpc";
import { z } from "zod";
import type { KubernetesAccess } from "./kubernetes/kubernetes-api.ts";

const addresses = z
  .string()
  .default("")
  .transform((list) => (list.trim() === "" ? [] : list.split(",").map((address) => address.trim())))
  .pipe(z.array(z.string().regex(/^(unix:\/.+|[^\s,:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5})$/, "not host:port or unix:/path")));

const wholeNumber = (min: number): z.ZodType<number> => z.coerce.number().int().min(min);

const schema = z.object({
  /** Where to listen: `host:port` or `unix:/path`. */
  KVAULT_GATEWAY_ADDRESS: z.string().min(1).default("127.0.0.1:7717"),
  /** Where records live, e.g. `file:/var/lib/kvault`. The workers' must be the same. */
  KVAULT_STORE_URL: z.string("not set").min(1),
  /** Master keys that wrap tenants' keys: texts that wait in a shared queue are sealed. As the workers'. */
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
  /** Where every call leaves a line: who, what, on which context, with which outcome. Only ever appended to. */
  KVAULT_AUDIT_FILE: z.string().min(1).optional(),
  /** File with the token of role `service` that workers are shown. */
  KVAULT_SERVICE_TOKEN_FILE: z.string().min(1).optional(),
  /** Authorities that workers' certificates are checked against, PEM file: workers are then spoken to over TLS. */
  KVAULT_WORKER_CA_FILE: z.string().min(1).optional(),
  /** Certificate shown to workers (mutual TLS), PEM file. */
  KVAULT_WORKER_CERT_FILE: z.string().min(1).optional(),
  /** Key of the certificate shown to workers, PEM file. */
  KVAULT_WORKER_KEY_FILE: z.string().min(1).optional(),
  /** Name that workers' certificates are checked for, when they share one; else each worker's address. */
  KVAULT_WORKER_SERVER_NAME: z.string().min(1).optional(),
  /** Folder of model files. The gateway only looks whether they are there. */
  KVAULT_CACHE_DIR: z.string("not set").min(1),
  /** Queue of builds: `local:`, or `redis://host:port/database` for prefill workers that take builds themselves. */
  KVAULT_QUEUE_URL: z.string().min(1).default("local:"),
  /** States of contexts: `memory:`, or `redis://host:port/database` when several gateways share a store. */
  KVAULT_CATALOGUE_URL: z.string().min(1).default("memory:"),
  /** Where workers register and leases are kept: `memory:`, or `redis://host:port/database`. The workers' must be the same. */
  KVAULT_REGISTRY_URL: z.string().min(1).default("memory:"),
  /** `registry`: registered workers are used; `kubernetes`: decode workers that are ready there too. */
  KVAULT_DISCOVERY: z.enum(["registry", "kubernetes"]).default("registry"),
  /** Kubernetes Service whose EndpointSlices say which decode workers are ready. */
  KVAULT_DECODE_SERVICE: z
    .string()
    .regex(/^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/, "not the name of a Service")
    .default("decode"),
  /** Folder of the service account's token, authority and namespace. */
  KVAULT_SERVICE_ACCOUNT_DIR: z.string().min(1).default("/var/run/secrets/kubernetes.io/serviceaccount"),
  /** Prefill workers, comma-separated, beside those that register. */
  KVAULT_PREFILL_WORKERS: addresses,
  /** Decode workers, comma-separated, beside those that register. */
  KVAULT_DECODE_WORKERS: addresses,
  /** Preset or spec of requests that name none. */
  KVAULT_DEFAULT_SPEC: z.string().min(1).default("kvzip"),
  /** trace, debug, info, warn, error, fatal or silent. */
  KVAULT_LOG_LEVEL: z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).default("info"),
  /** Time for calls and builds to finish at a stop, milliseconds. */
  KVAULT_DRAIN_MS: wholeNumber(0).default(10_000),
  /** How often expired contexts are looked for, milliseconds. */
  KVAULT_SWEEP_INTERVAL_MS: wholeNumber(100).default(60_000),
  /** Most bytes of texts waiting or being built. */
  KVAULT_MAX_QUEUED_BYTES: wholeNumber(1).default(512 * 2 ** 20),
  /** Answers streamed at the same time; more are told when to come back. */
  KVAULT_MAX_STREAMS: wholeNumber(1).default(1_024),
  /** How long new calls are still taken at a stop, so that load balancers notice, milliseconds. */
  KVAULT_DRAIN_NOTICE_MS: wholeNumber(0).default(0),
});

export interface GatewayConfig {
  readonly address: string;
  readonly storeUrl: string;
  readonly cacheDir: string;
  readonly security: SecuritySettings;
  readonly masterKeyFile?: string;
  readonly auditFile?: string;
  readonly serviceTokenFile?: string;
  readonly workerTls?: TlsFiles;
  readonly workerServerName?: string;
  readonly kubernetes?: KubernetesAccess & { readonly decodeService: string };
  readonly queueUrl: string;
  readonly catalogueUrl: string;
  readonly registryUrl: string;
  readonly prefillWorkers: readonly string[];
  readonly decodeWorkers: readonly string[];
  readonly defaultSpec: string;
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error" | "fatal" | "silent";
  readonly drainMs: number;
  readonly sweepIntervalMs: number;
  readonly maxQueuedBytes: number;
  readonly maxStreams: number;
  readonly drainNoticeMs: number;
}

/** INVALID_ARGUMENT listing every problem of `env`, unknown KVAULT_* names included. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): GatewayConfig {
  const problems = unknownVariables(env).map((name) => `${name}: no such variable`);
  const parsed = schema.safeParse(env);
  problems.push(...missingWorkers(env));
  if (parsed.data?.KVAULT_DISCOVERY === "kubernetes" && kubernetesUrl(env) === undefined) {
    problems.push("KVAULT_DISCOVERY: kubernetes, and no KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT as every pod has");
  }
  if (!parsed.success) problems.push(...parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`));
  if (!parsed.success || problems.length > 0) {
    throw new KvaultError("INVALID_ARGUMENT", `Cannot start the gateway: ${problems.join("; ")}`, {
      details: { problems: problems.length },
    });
  }
  const { data } = parsed;
  return Object.freeze({
    address: data.KVAULT_GATEWAY_ADDRESS,
    storeUrl: data.KVAULT_STORE_URL,
    cacheDir: data.KVAULT_CACHE_DIR,
    security: securitySettings(data),
    ...(data.KVAULT_MASTER_KEY_FILE === undefined ? {} : { masterKeyFile: data.KVAULT_MASTER_KEY_FILE }),
    ...(data.KVAULT_AUDIT_FILE === undefined ? {} : { auditFile: data.KVAULT_AUDIT_FILE }),
    ...(data.KVAULT_SERVICE_TOKEN_FILE === undefined ? {} : { serviceTokenFile: data.KVAULT_SERVICE_TOKEN_FILE }),
    ...(data.KVAULT_WORKER_CA_FILE === undefined
      ? {}
      : { workerTls: tlsFiles(data.KVAULT_WORKER_CERT_FILE, data.KVAULT_WORKER_KEY_FILE, data.KVAULT_WORKER_CA_FILE) }),
    ...(data.KVAULT_WORKER_SERVER_NAME === undefined ? {} : { workerServerName: data.KVAULT_WORKER_SERVER_NAME }),
    ...(data.KVAULT_DISCOVERY === "registry"
      ? {}
      : {
          kubernetes: {
            apiUrl: kubernetesUrl(env) ?? "",
            accountDir: data.KVAULT_SERVICE_ACCOUNT_DIR,
            decodeService: data.KVAULT_DECODE_SERVICE,
          },
        }),
    queueUrl: data.KVAULT_QUEUE_URL,
    catalogueUrl: data.KVAULT_CATALOGUE_URL,
    registryUrl: data.KVAULT_REGISTRY_URL,
    prefillWorkers: data.KVAULT_PREFILL_WORKERS,
    decodeWorkers: data.KVAULT_DECODE_WORKERS,
    defaultSpec: data.KVAULT_DEFAULT_SPEC,
    logLevel: data.KVAULT_LOG_LEVEL,
    drainMs: data.KVAULT_DRAIN_MS,
    sweepIntervalMs: data.KVAULT_SWEEP_INTERVAL_MS,
    maxQueuedBytes: data.KVAULT_MAX_QUEUED_BYTES,
    maxStreams: data.KVAULT_MAX_STREAMS,
    drainNoticeMs: data.KVAULT_DRAIN_NOTICE_MS,
  });
}

/** Where pods are told that the API is. */
function kubernetesUrl(env: Readonly<Record<string, string | undefined>>): string | undefined {
  const { KUBERNETES_SERVICE_HOST: host = "", KUBERNETES_SERVICE_PORT: port = "" } = env;
  if (host === "" || !/^\d{1,5}$/.test(port)) return undefined;
  return `https://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Nobody would build or answer: workers are named here, or register by themselves. */
function missingWorkers(env: Readonly<Record<string, string | undefined>>): string[] {
  if ((env["KVAULT_REGISTRY_URL"] ?? "memory:") !== "memory:") return [];
  return ["KVAULT_PREFILL_WORKERS", "KVAULT_DECODE_WORKERS"]
    .filter((name) => (env[name] ?? "").trim() === "")
    .map((name) => `${name}: not set, and no KVAULT_REGISTRY_URL where workers register`);
}
