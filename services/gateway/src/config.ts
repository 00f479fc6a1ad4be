/**
 * Configuration of the gateway process, from `KVAULT_*` variables: checked whole, frozen, passed
 * down by argument.
 *
 * @module
 */
import { type TlsFiles, tlsFiles } from "@kvault/rpc";
import { readVariables, type ServiceSettings, serviceSettings, serviceVariables, wholeNumber } from "@kvault/service";
import { z } from "zod";
import type { KubernetesAccess } from "./kubernetes/kubernetes-api.ts";

const addresses = z
  .string()
  .default("")
  .transform((list) => (list.trim() === "" ? [] : list.split(",").map((address) => address.trim())))
  .pipe(z.array(z.string().regex(/^(unix:\/.+|[^\s,:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5})$/, "not host:port or unix:/path")));

const schema = z.object({
  /** Where to listen: `host:port` or `unix:/path`. */
  KVAULT_GATEWAY_ADDRESS: z.string().min(1).default("127.0.0.1:7717"),
  /** Where the HTTP front (OpenAI's protocol, /v1/contexts) listens, `host:port`; there is none when not set. */
  KVAULT_HTTP_ADDRESS: z.string().min(1).optional(),
  ...serviceVariables,
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
  /** Queue of builds: `local:`, or `redis://host:port/database` for prefill workers that take builds themselves. */
  KVAULT_QUEUE_URL: z.string().min(1).default("local:"),
  /** States of contexts: `memory:`, or `redis://host:port/database` when several gateways share a store. */
  KVAULT_CATALOGUE_URL: z.string().min(1).default("memory:"),
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
  /** Preset or spec of requests that name none; not set: `kvault` for models that were evaluated with it, `kvzip` for others. */
  KVAULT_DEFAULT_SPEC: z.string().min(1).optional(),
  /** Time for calls and builds to finish at a stop, milliseconds. */
  KVAULT_DRAIN_MS: wholeNumber(0).default(10_000),
  /** How long a deleted context can be undeleted, milliseconds; 0: deleted contexts are gone at once. */
  KVAULT_DELETE_RETENTION_MS: wholeNumber(0).default(86_400_000),
  /** How often expired contexts are looked for, milliseconds. */
  KVAULT_SWEEP_INTERVAL_MS: wholeNumber(100).default(60_000),
  /** Most bytes of texts waiting or being built. */
  KVAULT_MAX_QUEUED_BYTES: wholeNumber(1).default(512 * 2 ** 20),
  /** Answers streamed at the same time; more are told when to come back. */
  KVAULT_MAX_STREAMS: wholeNumber(1).default(1_024),
  /** How long new calls are still taken at a stop, so that load balancers notice, milliseconds. */
  KVAULT_DRAIN_NOTICE_MS: wholeNumber(0).default(0),
});

export interface GatewayConfig extends ServiceSettings {
  readonly address: string;
  readonly httpAddress?: string;
  readonly auditFile?: string;
  readonly serviceTokenFile?: string;
  readonly workerTls?: TlsFiles;
  readonly workerServerName?: string;
  readonly kubernetes?: KubernetesAccess & { readonly decodeService: string };
  readonly queueUrl: string;
  readonly catalogueUrl: string;
  readonly prefillWorkers: readonly string[];
  readonly decodeWorkers: readonly string[];
  readonly defaultSpec?: string;
  readonly drainMs: number;
  readonly deleteRetentionMs: number;
  readonly sweepIntervalMs: number;
  readonly maxQueuedBytes: number;
  readonly maxStreams: number;
  readonly drainNoticeMs: number;
}

/** INVALID_ARGUMENT listing every problem of `env`, unknown KVAULT_* names included. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): GatewayConfig {
  const data = readVariables("gateway", schema, env, [...missingWorkers(env), ...missingKubernetes(env)]);
  return Object.freeze({
    ...serviceSettings(data),
    address: data.KVAULT_GATEWAY_ADDRESS,
    ...(data.KVAULT_HTTP_ADDRESS === undefined ? {} : { httpAddress: data.KVAULT_HTTP_ADDRESS }),
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
    prefillWorkers: data.KVAULT_PREFILL_WORKERS,
    decodeWorkers: data.KVAULT_DECODE_WORKERS,
    ...(data.KVAULT_DEFAULT_SPEC === undefined ? {} : { defaultSpec: data.KVAULT_DEFAULT_SPEC }),
    drainMs: data.KVAULT_DRAIN_MS,
    deleteRetentionMs: data.KVAULT_DELETE_RETENTION_MS,
    sweepIntervalMs: data.KVAULT_SWEEP_INTERVAL_MS,
    maxQueuedBytes: data.KVAULT_MAX_QUEUED_BYTES,
    maxStreams: data.KVAULT_MAX_STREAMS,
    drainNoticeMs: data.KVAULT_DRAIN_NOTICE_MS,
  });
}

function missingKubernetes(env: Readonly<Record<string, string | undefined>>): string[] {
  if (env["KVAULT_DISCOVERY"] !== "kubernetes" || kubernetesUrl(env) !== undefined) return [];
  return ["KVAULT_DISCOVERY: kubernetes, and no KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT as every pod has"];
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
