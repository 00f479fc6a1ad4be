/**
 * A decode worker, wired: used by the process entry (main.ts) and, for the embedded mode, by
 * whoever starts all services in one process. Reads no environment and touches no process state.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { openLeases, openRegistry } from "@kvault/cluster";
import {
  INTERNAL_MESSAGE_BYTES,
  openSecurity,
  type RpcLogger,
  requestLog,
  type SecuritySettings,
  startServer,
} from "@kvault/rpc";
import { type EngineEvent, type OpenEngineOptions, openEngine } from "@kvault/runtime";
import { leasedReads } from "./leased-reads.ts";
import { LoadMeter } from "./load-meter.ts";
import { QuerySlots } from "./query-slots.ts";
import { workerService } from "./rpc/service.ts";

export interface DecodeWorkerOptions extends Omit<OpenEngineOptions, "onEvent"> {
  /** `host:port` (port 0: a free one) or `unix:/path`. */
  readonly address: string;
  readonly log: RpcLogger;
  /** What callers have to show: see docs/security.md. On a loopback address or a unix socket nothing, when absent. */
  readonly security?: SecuritySettings;
  /** Queries answered at the same time; 64. */
  readonly maxQueries?: number;
  /** Where this worker registers and leases are; `memory:`. */
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

const DEFAULT_MAX_QUERIES = 64;
const DEFAULT_DRAIN_MS = 10_000;

/** Starts engine and server; resolves when queries are taken. */
export async function startDecodeWorker(options: DecodeWorkerOptions): Promise<RunningWorker> {
  const { address, log, maxQueries = DEFAULT_MAX_QUERIES, onEngineFailed, ...more } = options;
  const { registryUrl = "memory:", advertiseAddress, security = {}, ...engineOptions } = more;
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
  const engine = await openEngine({ ...engineOptions, onEvent });
  const shared: { close(): Promise<void> }[] = [];
  let closing: Promise<void> | undefined;
  const release = async (): Promise<void> => {
    for (const each of shared) await each.close();
    await engine.close();
    guard.close();
  };
  try {
    const leases = openLeases(registryUrl);
    shared.unshift(leases);
    const registry = openRegistry(registryUrl);
    shared.unshift(registry);
    const service = workerService({
      engine,
      reads: leasedReads(engine, leases),
      slots: new QuerySlots(maxQueries),
      meter: new LoadMeter(),
      incarnation,
      residentLimitBytes: engineOptions.residentBytes,
      isDraining: () => closing !== undefined,
    });
    const server = await startServer({
      address,
      services: [service],
      interceptors: [requestLog],
      log,
      ...guard.serverOptions,
      maxMessageBytes: INTERNAL_MESSAGE_BYTES,
    });
    setServing = (serving) => server.setServing(serving);
    setServing(engine.status().health === "ready");
    const registration = await registry.register(
      { role: "decode", address: advertiseAddress ?? server.address, incarnation, startedMs, capacity: maxQueries },
      () => {
        const { models, residentContextIds, residentBytes, runningBuilds, runningQueries, restarts } = engine.status();
        const held = { models, residentContextIds, residentBytes, runningBuilds, runningQueries };
        return { ...held, draining: closing !== undefined, engineRestarts: restarts };
      },
    );
    log.info({ address: server.address }, "decode worker started");
    return {
      address: server.address,
      close({ drainMs = DEFAULT_DRAIN_MS } = {}) {
        setServing = () => undefined;
        closing ??= server.close({ drainMs }).then(release);
        void registration.beat();
        return closing;
      },
    };
  } catch (error) {
    await release();
    throw error;
  }
}
