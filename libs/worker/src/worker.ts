/**
 * A worker: a server in front of an engine that runs models, told to the registry.
 *
 * The order is the point. Engine, then server, then what takes work, then registration: nobody is
 * sent here before calls are taken. At a stop the registry hears it first, calls and work under
 * way get their time, and everything opened is closed in reverse, the engine last.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { type Leases, openLeases, openRegistry, type WorkerLoad, type WorkerRole } from "@kvault/cluster";
import {
  INTERNAL_MESSAGE_BYTES,
  openSecurity,
  type RpcLogger,
  type RunningServer,
  requestLog,
  type SecuritySettings,
  type ServiceImplementation,
  startServer,
} from "@kvault/rpc";
import { type Engine, type EngineEvent, type OpenEngineOptions, openEngine } from "@kvault/runtime";
import { count } from "@kvault/telemetry";

export interface WorkerOptions extends Omit<OpenEngineOptions, "onEvent"> {
  /** `host:port` (port 0: a free one) or `unix:/path`. */
  readonly address: string;
  readonly log: RpcLogger;
  /** What callers have to show: see docs/security.md. On a loopback address or a unix socket nothing, when absent. */
  readonly security?: SecuritySettings;
  /** Where this worker registers and leases are; `memory:`. */
  readonly registryUrl?: string;
  /** Where gateways reach this worker; as it listens. */
  readonly advertiseAddress?: string;
  /** Model that is open before work is taken; none. */
  readonly preloadModel?: string;
  /** Called once when the engine cannot be kept alive: the worker is of no more use. */
  readonly onEngineFailed?: () => void;
}

export interface RunningWorker {
  /** Where it listens, with the real port. */
  readonly address: string;
  /** Lets calls go on for `drainMs` (10 s), then cuts them and ends the engine. Idempotent. */
  close(options?: { readonly drainMs?: number }): Promise<void>;
}

/** What is open when a role adds its part. */
export interface OpenedWorker {
  readonly engine: Engine;
  readonly leases: Leases;
  /** New at every start of the worker. */
  readonly incarnation: string;
  isDraining(): boolean;
  /** Closes `opened` when the worker stops, before what was opened before it. */
  own<Opened extends { close(): Promise<void> }>(opened: Opened): Opened;
}

/** What a role adds. */
interface WorkerPart {
  readonly service: ServiceImplementation;
  /** Begins to take work from elsewhere than the server. */
  readonly takeWork?: () => Promise<{ close(options: { readonly drainMs: number }): Promise<void> } | undefined>;
  /** What it tells gateways of its load. */
  readonly load: () => Pick<WorkerLoad, "residentContextIds" | "residentBytes" | "runningQueries">;
}

export interface WorkerRoleOptions {
  readonly role: WorkerRole;
  /** Calls or builds at the same time. */
  readonly capacity: number;
  readonly open: (opened: OpenedWorker) => WorkerPart;
}

const DEFAULT_DRAIN_MS = 10_000;

/** Starts engine and server; resolves when work is taken. */
export async function startWorker(options: WorkerOptions, { role, capacity, open }: WorkerRoleOptions): Promise<RunningWorker> {
  const {
    address,
    log,
    onEngineFailed,
    registryUrl = "memory:",
    advertiseAddress,
    preloadModel,
    security = {},
    ...engineOptions
  } = options;
  const guard = openSecurity(security, { address, roles: ["service"], log });
  const incarnation = randomUUID();
  const startedMs = Date.now();
  let setServing: (serving: boolean) => void = () => undefined;
  const onEvent = (event: EngineEvent): void => {
    const { type, ...fields } = event;
    setServing(type === "ready");
    if (type === "ready") log.info(fields, "engine ready");
    else if (type === "died") {
      count("kvault_engine_restarts_total");
      log.warn(fields, "engine died");
    } else {
      log.error({ err: event.error }, "engine does not start");
      onEngineFailed?.();
    }
  };
  const engine = await openEngine({ ...engineOptions, role, onEvent });
  const owned: { close(): Promise<void> }[] = [];
  const own = <Opened extends { close(): Promise<void> }>(opened: Opened): Opened => {
    owned.unshift(opened);
    return opened;
  };
  let closing: Promise<void> | undefined;
  const release = async (): Promise<void> => {
    for (const each of owned) await each.close();
    await engine.close();
    guard.close();
  };
  let server: RunningServer | undefined;
  try {
    if (preloadModel !== undefined) await engine.openModel(preloadModel);
    const leases = own(openLeases(registryUrl));
    const registry = own(openRegistry(registryUrl));
    const part = open({ engine, leases, incarnation, isDraining: () => closing !== undefined, own });
    const started = await startServer({
      address,
      services: [part.service],
      interceptors: [requestLog],
      log,
      ...guard.serverOptions,
      maxMessageBytes: INTERNAL_MESSAGE_BYTES,
    });
    server = started;
    setServing = (serving) => started.setServing(serving);
    setServing(engine.status().health === "ready");
    const work = await part.takeWork?.();
    const registration = await registry.register(
      { role, address: advertiseAddress ?? started.address, incarnation, startedMs, capacity },
      () => {
        const { models, runningBuilds, restarts } = engine.status();
        return { ...part.load(), draining: closing !== undefined, models, runningBuilds, engineRestarts: restarts };
      },
    );
    log.info({ address: started.address }, `${role} worker started`);
    return {
      address: started.address,
      close({ drainMs = DEFAULT_DRAIN_MS } = {}) {
        setServing = () => undefined;
        closing ??= Promise.all([started.close({ drainMs }), work?.close({ drainMs })]).then(release);
        void registration.beat();
        return closing;
      },
    };
  } catch (error) {
    await server?.close({ drainMs: 0 });
    await release();
    throw error;
  }
}
