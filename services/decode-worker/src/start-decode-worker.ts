/**
 * A decode worker, wired: used by the process entry (main.ts) and, for the embedded mode, by
 * whoever starts all services in one process. Reads no environment and touches no process state.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { INTERNAL_MESSAGE_BYTES, type RpcLogger, requestLog, startServer } from "@kvault/rpc";
import { type EngineEvent, type OpenEngineOptions, openEngine } from "@kvault/runtime";
import { LoadMeter } from "./load-meter.ts";
import { QuerySlots } from "./query-slots.ts";
import { workerService } from "./rpc/service.ts";

export interface DecodeWorkerOptions extends Omit<OpenEngineOptions, "onEvent"> {
  /** `host:port` (port 0: a free one) or `unix:/path`. */
  readonly address: string;
  readonly log: RpcLogger;
  /** Queries answered at the same time; 64. */
  readonly maxQueries?: number;
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
  const { address, log, maxQueries = DEFAULT_MAX_QUERIES, onEngineFailed, ...engineOptions } = options;
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
  let closing: Promise<void> | undefined;
  const service = workerService({
    engine,
    slots: new QuerySlots(maxQueries),
    meter: new LoadMeter(),
    incarnation: randomUUID(),
    residentLimitBytes: engineOptions.residentBytes,
    isDraining: () => closing !== undefined,
  });
  try {
    const server = await startServer({
      address,
      services: [service],
      interceptors: [requestLog],
      log,
      maxMessageBytes: INTERNAL_MESSAGE_BYTES,
    });
    setServing = (serving) => server.setServing(serving);
    setServing(engine.status().health === "ready");
    log.info({ address: server.address }, "decode worker started");
    return {
      address: server.address,
      close({ drainMs = DEFAULT_DRAIN_MS } = {}) {
        setServing = () => undefined;
        closing ??= server.close({ drainMs }).then(() => engine.close());
        return closing;
      },
    };
  } catch (error) {
    await engine.close();
    throw error;
  }
}
