/**
 * The gateway, wired: used by the process entry (main.ts) and, for the embedded mode, by whoever
 * starts all services in one process. Reads no environment and touches no process state.
 *
 * @module
 */

import { openLeases, openRegistry, type QueuedBuild } from "@kvault/cluster";
import { openProfiles } from "@kvault/compression";
import { type BlobStore, collectGarbage, openKeyRing, openStore } from "@kvault/kvstore";
import { type ModelHub, openHub } from "@kvault/model";
import { openQueue, type QueueOptions } from "@kvault/queue";
import {
  type CloseOptions,
  fieldLimits,
  fieldsWithoutLimit,
  inProcessClients,
  isLoopback,
  type JsonValue,
  openSecurity,
  type Quotas,
  type RpcLogger,
  type RunningServer,
  requestLog,
  type SecuritySettings,
  startServer,
} from "@kvault/rpc";
import { Admission } from "./admission/admission.ts";
import { auditInterceptor, reasonOf } from "./audit/audit-interceptor.ts";
import { openAuditLog } from "./audit/audit-log.ts";
import { Builder } from "./builds/builder.ts";
import type { ContextCatalogue } from "./catalogue/context-catalogue.ts";
import { fillFromStore } from "./catalogue/from-manifest.ts";
import { openCatalogue } from "./catalogue/open-catalogue.ts";
import { RefreshOnUse } from "./catalogue/refresh-on-use.ts";
import { Remover } from "./catalogue/remover.ts";
import { explainInterceptor } from "./explain/explain-interceptor.ts";
import { RecentRequests } from "./explain/recent-requests.ts";
import { type RunningHttp, startHttp } from "./http/start-http.ts";
import type { KubernetesAccess } from "./kubernetes/kubernetes-api.ts";
import { ReadyEndpoints } from "./kubernetes/ready-endpoints.ts";
import { quotaInterceptor } from "./quota/quota-interceptor.ts";
import { StorageQuota } from "./quota/storage-quota.ts";
import { TenantRates } from "./quota/tenant-rates.ts";
import { gatewayServices } from "./rpc/services.ts";
import { Backlog } from "./telemetry/backlog.ts";
import { watchGateway } from "./telemetry/gateway-gauges.ts";
import { TenantRemover } from "./tenants/tenant-remover.ts";
import { FIELD_LIMITS } from "./validation/field-limits.ts";
import { DecodePool } from "./workers/decode-pool.ts";
import { Discovery } from "./workers/discovery.ts";
import { PrefillPool } from "./workers/prefill-pool.ts";
import type { WorkerAccess } from "./workers/worker-link.ts";

export interface GatewayOptions {
  /** `host:port` (port 0: a free one) or `unix:/path`. */
  readonly address: string;
  /** `host:port` of the HTTP front; there is none when absent. */
  readonly httpAddress?: string;
  /** Where records live: a URL, or a store that its owner closes. */
  readonly store: string | BlobStore;
  /** Model catalogue: a cache folder, or a hub. */
  readonly models: string | Pick<ModelHub, "list" | "describe" | "isPresent">;
  /** `local:`: this gateway gives builds to prefill workers; `redis://…`: workers take them themselves. */
  readonly queueUrl: string;
  readonly queue?: QueueOptions;
  /** `memory:` (when absent), or `redis://…` for several gateways over one store. */
  readonly catalogueUrl?: string;
  /** Where workers register and leases are: `memory:` (when absent), or `redis://…`. */
  readonly registryUrl?: string;
  /** Addresses of workers beside those that register; they need not be up yet. */
  readonly prefillWorkers: readonly string[];
  readonly decodeWorkers: readonly string[];
  /** Where readiness of registered decode workers is looked up too; nowhere when absent. */
  readonly kubernetes?: KubernetesAccess & { readonly decodeService: string };
  readonly log: RpcLogger;
  /** Preset or spec of requests that name none; when absent `kvault` for models that were evaluated with it, `kvzip` for others. */
  readonly defaultSpec?: string;
  /** Most bytes of texts waiting or being built; 512 MiB. */
  readonly maxQueuedBytes?: number;
  /** Answers streamed at the same time; 1,024. */
  readonly maxStreams?: number;
  /** How long a deleted context can be undeleted; a day. 0: deleted contexts are gone at once. */
  readonly deleteRetentionMs?: number;
  /** How often expired contexts are looked for; 60 s. */
  readonly sweepIntervalMs?: number;
  readonly maxConnectionAgeMs?: number;
  /** What callers have to show: see docs/security.md. On a loopback address or a unix socket nothing, when absent. */
  readonly security?: SecuritySettings;
  /** What this gateway shows to workers. */
  readonly workerAccess?: WorkerAccess;
  /** Master keys: requests of builds that wait in a shared queue are sealed. */
  readonly masterKeyFile?: string;
  /** Where every call leaves a line; nowhere when absent. */
  readonly auditFile?: string;
}

export interface RunningGateway {
  /** Where it listens, with the real port. */
  readonly address: string;
  /** Of the HTTP front. */
  readonly httpAddress: string | undefined;
  /**
   * Takes calls for `noticeMs` more while health says otherwise (0), lets those under way and builds
   * go on for `drainMs` (10 s), then cuts them. Idempotent.
   */
  close(options?: CloseOptions): Promise<void>;
}

const DEFAULT_MAX_QUEUED_BYTES = 512 * 2 ** 20;
const DEFAULT_MAX_STREAMS = 1_024;
const DEFAULT_SWEEP_INTERVAL_MS = 60_000;
const DEFAULT_DELETE_RETENTION_MS = 24 * 3_600_000;
const DEFAULT_DRAIN_MS = 10_000;

/** How often garbage in the store is looked for, by one gateway. */
const GC_INTERVAL_MS = 3_600_000;
const GC_LEASE_MS = 60_000;
/** Longer than any build: its parts come before its manifest. */
const GC_GRACE_MS = 24 * 3_600_000;

/** How often builds of gateways that died are looked for. */
const ADOPT_INTERVAL_MS = 5_000;

/** Starts the gateway; resolves when it takes calls. Workers that are not up are waited for when they are needed. */
export async function startGateway(options: GatewayOptions): Promise<RunningGateway> {
  const { log } = options;
  const audit = options.auditFile === undefined ? undefined : await openAuditLog(options.auditFile, log);
  const security = openSecurity(options.security ?? {}, {
    // The most open of them decides what callers have to show.
    address:
      [options.address, options.httpAddress ?? ""].find((address) => address !== "" && !isLoopback(address)) ?? options.address,
    roles: ["tenant"],
    log,
    onRefused: ({ path, error }) =>
      audit?.write({
        requestId: "",
        tenant: "",
        tokenId: "",
        rpc: path,
        resource: "",
        outcome: error.code,
        reason: reasonOf(error),
      }),
  });
  const { access } = security;
  const saltOf = (tenant: string): string => access?.saltOf(tenant) ?? "";
  const quotasOf = (tenant: string): Quotas => access?.quotasOf(tenant) ?? {};
  const models = typeof options.models === "string" ? await openHub({ cacheDir: options.models }) : options.models;
  const store = typeof options.store === "string" ? await openStore(options.store) : options.store;
  const keys = await openKeyRing(store, options.masterKeyFile);
  const queue = openQueue<QueuedBuild, JsonValue, JsonValue>(options.queueUrl, options.queue);
  const catalogue = openCatalogue(options.catalogueUrl ?? "memory:", store);
  const registryUrl = options.registryUrl ?? "memory:";
  const leases = openLeases(registryUrl);
  const registry = openRegistry(registryUrl);
  const prefill = new PrefillPool(options.prefillWorkers, options.workerAccess);
  const recent = new RecentRequests();
  const backlog = new Backlog(catalogue);
  const decode = new DecodePool(options.decodeWorkers, options.workerAccess, recent);
  const maxQueuedBytes = options.maxQueuedBytes ?? DEFAULT_MAX_QUEUED_BYTES;
  const builder = new Builder({
    catalogue,
    queue,
    store,
    keys,
    leases,
    prefill,
    decode,
    log,
    maxQueuedBytes,
    saltOf,
    onBuilt: (report) => backlog.learn(report),
  });
  const unwatch = watchGateway({ catalogue, backlog, workers: () => ({ prefill: prefill.links, decode: decode.links }) });
  const remover = new Remover({ catalogue, queue, decode, store, leases, log });
  const refresh = new RefreshOnUse({ catalogue, store }, log);
  const retentionMs = options.deleteRetentionMs ?? DEFAULT_DELETE_RETENTION_MS;
  const admission = new Admission(options.maxStreams ?? DEFAULT_MAX_STREAMS);
  const profiles = openProfiles(typeof options.models === "string" ? options.models : undefined);
  const { defaultSpec } = options;
  const { kubernetes } = options;
  const endpoints =
    kubernetes === undefined
      ? undefined
      : new ReadyEndpoints({
          access: kubernetes,
          service: kubernetes.decodeService,
          onChange: () => void discovery.look(),
          onError: (error) => log.warn({ err: error }, "Kubernetes API does not answer"),
        });
  const discovery: Discovery = new Discovery({
    registry,
    ...(endpoints === undefined ? {} : { readyDecode: () => endpoints.addresses }),
    named: { prefill: options.prefillWorkers, decode: options.decodeWorkers },
    pools: { prefill, decode },
    onError: (error) => log.warn({ err: error }, "registry of workers does not answer"),
  });
  const tenantRemover = new TenantRemover({
    catalogue,
    remover,
    store,
    log,
    deletedTenants: () => access?.deletedTenants() ?? [],
  });
  const sweep = async (): Promise<void> => {
    // Lost with its Redis: the store knows what there is.
    await fillCatalogue(catalogue, store, log);
    await remover.sweep(Date.now());
    await tenantRemover.look();
  };
  const collect = async (): Promise<void> => {
    const lease = await leases.acquire("gc", { ttlMs: GC_LEASE_MS });
    if (lease === undefined) return;
    try {
      const isInUse = async (id: string): Promise<boolean> =>
        (await leases.readers(id)) > 0 || (await catalogue.get(id))?.state.type === "creating";
      const found = await collectGarbage(store, { graceMs: GC_GRACE_MS, isInUse, signal: lease.lost });
      if (found.removedParts + found.removedRequests > 0) log.info({ ...found }, "garbage removed");
    } finally {
      await lease.release();
    }
  };
  const chores = [
    every(GC_INTERVAL_MS, collect, (error) => log.warn({ err: error }, "garbage not collected")),
    every(options.sweepIntervalMs ?? DEFAULT_SWEEP_INTERVAL_MS, sweep, (error) => log.warn({ err: error }, "sweep not done")),
    every(
      ADOPT_INTERVAL_MS,
      () => builder.adopt(),
      (error) => log.warn({ err: error }, "builds not looked after"),
    ),
  ];

  const release = async (): Promise<void> => {
    for (const chore of chores) clearInterval(chore);
    unwatch();
    builder.leave();
    await queue.close({ drainMs: 0 });
    await builder.settle();
    await endpoints?.close();
    await refresh.settle();
    await discovery.close();
    prefill.close();
    decode.close();
    await Promise.all([catalogue.close(), leases.close(), registry.close()]);
    if (typeof options.store === "string") await store.close();
    security.close();
    await audit?.close();
  };

  const start = async (): Promise<Started> => {
    await queue.ready();
    const contexts = await fillCatalogue(catalogue, store, log);
    await discovery.look();
    const quota = new StorageQuota(quotasOf);
    const shared = {
      ...{ catalogue, queue, builder, remover, refresh, retentionMs, prefill, decode },
      ...{ admission, recent, quota, store, models, profiles, saltOf },
      ...(defaultSpec === undefined ? {} : { defaultSpec }),
    };
    const services = gatewayServices(shared);
    const unlimited = fieldsWithoutLimit(services, FIELD_LIMITS);
    if (unlimited.length > 0) throw new TypeError(`Cannot serve fields without a limit: ${unlimited.join(" ")}`);
    const interceptors = [
      requestLog,
      ...(audit === undefined ? [] : [auditInterceptor(audit)]),
      explainInterceptor(recent),
      quotaInterceptor(new TenantRates({ quotasOf })),
      fieldLimits(FIELD_LIMITS),
    ];
    const server = await startServer({
      address: options.address,
      services,
      interceptors,
      ...security.serverOptions,
      log,
      ...(options.maxConnectionAgeMs === undefined ? {} : { maxConnectionAgeMs: options.maxConnectionAgeMs }),
    });
    if (options.httpAddress === undefined) return { server, http: undefined, contexts };
    const { auth, ...transport } = security.serverOptions;
    const clients = inProcessClients({ services, interceptors, log, ...(auth === undefined ? {} : { auth }) });
    try {
      return { server, http: await startHttp({ address: options.httpAddress, clients, ...transport }), contexts };
    } catch (error) {
      await server.close({ drainMs: 0 });
      throw error;
    }
  };
  const { server, http, contexts } = await start().catch(async (error: unknown) => {
    await release();
    throw error;
  });
  builder.start();
  access?.onChange(() => void tenantRemover.look());
  void tenantRemover.look();
  // So that the first call finds its workers; those that do not answer are asked again then.
  void Promise.all([prefill.beat(), decode.beat()]);
  log.info({ address: server.address, httpAddress: http?.address, contexts }, "gateway started");

  let closing: Promise<void> | undefined;
  return {
    address: server.address,
    httpAddress: http?.address,
    close({ drainMs = DEFAULT_DRAIN_MS, noticeMs = 0 } = {}) {
      builder.leave();
      closing ??= Promise.all([
        server.close({ drainMs, noticeMs }),
        http?.close({ drainMs, noticeMs }),
        queue.close({ drainMs: drainMs + noticeMs }),
      ]).then(release);
      return closing;
    },
  };
}

interface Started {
  readonly server: RunningServer;
  readonly http: RunningHttp | undefined;
  /** Found in the store; undefined when the catalogue had them. */
  readonly contexts: number | undefined;
}

/** Puts the store's records into a catalogue that does not have them; how many, or undefined when it had. */
async function fillCatalogue(catalogue: ContextCatalogue, store: BlobStore, log: RpcLogger): Promise<number | undefined> {
  if (await catalogue.isWhole()) return undefined;
  const contexts = await fillFromStore(catalogue, store, log);
  await catalogue.markWhole();
  return contexts;
}

/** Does `chore` every `ms`, one at a time. */
function every(ms: number, chore: () => Promise<void>, onError: (error: unknown) => void): NodeJS.Timeout {
  let running = false;
  const timer = setInterval(async () => {
    if (running) return;
    running = true;
    await chore().catch(onError);
    running = false;
  }, ms);
  return timer.unref();
}
