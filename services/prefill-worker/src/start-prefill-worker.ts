/**
 * A prefill worker, wired: used by the process entry (main.ts) and, for the embedded mode, by
 * whoever starts all services in one process. Reads no environment and touches no process state.
 *
 * @module
 */
import { INTERNAL_MESSAGE_BYTES, type RpcLogger, requestLog, startServer } from "@kvault/rpc";
import { type EngineEvent, type OpenEngineOptions, openEngine } from "@kvault/runtime";
import { BuildSlots } from "./build-slots.ts";
import { workerService } from "./rpc/service.ts";

export interface PrefillWorkerOptions extends Omit<OpenEngineOptions, "residentBytes" | "onEvent"> {
  /** `host:port` (port 0: a free one) or `unix:/path`. */
  readonly address: string;
  readonly log: RpcLogger;
  /** Builds that may wait behind the one that runs; 2. */
  readonly maxWaitingBuilds?: number;
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

/** Starts engine and server; resolves when builds are taken. */
export async function startPrefillWorker(options: PrefillWorkerOptions): Promise<RunningWorker> {
  const { address, log, maxWaitingBuilds = DEFAULT_MAX_WAITING_BUILDS, onEngineFailed, ...engineOptions } = options;
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
  try {
    const server = await startServer({
      address,
      services: [workerService(engine, new BuildSlots(maxWaitingBuilds))],
      interceptors: [requestLog],
      log,
      maxMessageBytes: INTERNAL_MESSAGE_BYTES,
    });
    setServing = (serving) => server.setServing(serving);
    setServing(engine.status().health === "ready");
    log.info({ address: server.address }, "prefill worker started");
    let closing: Promise<void> | undefined;
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
