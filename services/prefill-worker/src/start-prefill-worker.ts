/**
 * A prefill worker, wired: used by the process entry (main.ts) and, for the embedded mode, by
 * whoever starts all services in one process. Reads no environment and touches no process state.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { openLeases, openRegistry, type QueuedBuild } from "@kvault/cluster";
import { openKeyRing, openStore } from "@kvault/kvstore";
import { openQueue } from "@kvault/queue";
import {
  INTERNAL_MESSAGE_BYTES,
  type JsonValue,
  openSecurity,
  type RpcLogger,
  requestLog,
  type SecuritySettings,
  startServer,
} from "@kvault/rpc";
import { type EngineEvent, type OpenEngineOptions, openEngine } from "@kvault/runtime";
import { BuildSlots } from "./build-slots.ts";
import { type SharedBuildQueue, takeBuilds } from "./queued-builds.ts";
import { workerService } from "./rpc/service.ts";

export interface PrefillWorkerOptions extends Omit<OpenEngineOptions, "residentBytes" | "onEvent"> {
  /** `host:port` (port 0: a free one) or `unix:/path`. */
  readonly address: string;
  readonly log: RpcLogger;
  /** What callers have to show: see docs/security.md. On a loopback address or a unix socket nothing, when absent. */
  readonly security?: SecuritySettings;
  /** Builds that may wait behind the one that runs; 2. */
  readonly maxWaitingBuilds?: number;
  /** A shared queue that builds are taken from; without one gateways bring them. */
  readonly queueUrl?: string;
  /** Where this worker registers and builders' leases are; `memory:`. */
  readonly registryUrl?: string;
  /** Where gateways reach this worker; as it listens. */
  readonly advertiseAddress?: string;
  /** Called once when the engine cannot be kept alive: the worker is of no more use. */
  readonly onEngineFailed?: () => void;
}

export interface RunningWorker {
  /** Where it listens, with the real port. */
  readonly address: string;
  /** Lets calls go on for `drainMs` (10 s), then cuts them and ends the engine. Idempotent. */
  close(options?: { readonly drainMs?: number }): Promise<void>;
}

const DEFAULT_MAX_WAITING_BUILDS = 2;
const DEFAULT_DRAIN_MS = 10_000;
/** Gateways keep such a queue to themselves. */
const LOCAL_QUEUE = "local:";

/** Starts engine and server; resolves when builds are taken. */
export async function startPrefillWorker(options: PrefillWorkerOptions): Promise<RunningWorker> {
  const { address, log, maxWaitingBuilds = DEFAULT_MAX_WAITING_BUILDS, onEngineFailed, ...more } = options;
  const { queueUrl = LOCAL_QUEUE, registryUrl = "memory:", advertiseAddress, security = {}, ...engineOptions } = more;
  const guard = openSecurity(security, { address, roles: ["service"], log });
  const incarnation = randomUUID();
  const startedMs = Date.now();
  let setServing: (serving: boolean) => void = () => undefined;
  const onEvent = (event: EngineEvent): void => {
    const { type, ...fields } = event;
    setServing(type === "ready");
    if (type === "ready") log.info(fields, "engine ready");
    else if (type === "died") log.warn(fields, "engine died");
    else {
      log.error({ err: event.error }, "engine does not start");
      onEngineFailed?.();
    }
  };
  // Nothing is resident here: a build holds its cache and lets it go.
  const engine = await openEngine({ ...engineOptions, residentBytes: 0, onEvent });
  const shared: { close(): Promise<void> }[] = [];
  const own = <Opened extends { close(): Promise<void> }>(opened: Opened): Opened => {
    shared.unshift(opened);
    return opened;
  };
  let closing: Promise<void> | undefined;
  const release = async (): Promise<void> => {
    for (const each of shared) await each.close();
    await engine.close();
    guard.close();
  };
  try {
    const leases = own(openLeases(registryUrl));
    const registry = own(openRegistry(registryUrl));
    const server = await startServer({
      address,
      services: [workerService(engine, new BuildSlots(maxWaitingBuilds), incarnation)],
      interceptors: [requestLog],
      log,
      ...guard.serverOptions,
      maxMessageBytes: INTERNAL_MESSAGE_BYTES,
    });
    setServing = (serving) => server.setServing(serving);
    setServing(engine.status().health === "ready");
    let queue: SharedBuildQueue | undefined;
    if (queueUrl !== LOCAL_QUEUE) {
      const store = own(await openStore(engineOptions.storeUrl));
      queue = own(openQueue<QueuedBuild, JsonValue, JsonValue>(queueUrl));
      await queue.ready();
      takeBuilds(queue, { engine, store, keys: await openKeyRing(store, engineOptions.masterKeyFile), leases, log });
    }
    await registry.register(
      { role: "prefill", address: advertiseAddress ?? server.address, incarnation, startedMs, capacity: 1 },
      () => {
        const { models, runningBuilds, restarts } = engine.status();
        const idle = { residentContextIds: [], residentBytes: 0, runningQueries: 0 };
        return { ...idle, draining: closing !== undefined, models, runningBuilds, engineRestarts: restarts };
      },
    );
    log.info({ address: server.address }, "prefill worker started");
    return {
      address: server.address,
      close({ drainMs = DEFAULT_DRAIN_MS } = {}) {
        setServing = () => undefined;
        closing ??= Promise.all([server.close({ drainMs }), queue?.close({ drainMs })]).then(release);
        return closing;
      },
    };
  } catch (error) {
    await release();
    throw error;
  }
}
