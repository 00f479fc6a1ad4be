/**
 * A gateway whose handlers a test writes: real gRPC over a loopback port.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import {
  Contexts,
  Inference,
  implement,
  type RunningServer,
  type ServerOptions,
  type ServiceHandlers,
  startServer,
  UNIMPLEMENTED,
} from "@kvault/rpc";

const NO_CONTEXTS: ServiceHandlers<typeof Contexts> = {
  createContext: UNIMPLEMENTED,
  uploadContext: UNIMPLEMENTED,
  getContext: UNIMPLEMENTED,
  listContexts: UNIMPLEMENTED,
  updateContext: UNIMPLEMENTED,
  deleteContext: UNIMPLEMENTED,
  undeleteContext: UNIMPLEMENTED,
  warmContext: UNIMPLEMENTED,
  inspectContext: UNIMPLEMENTED,
  watchContext: UNIMPLEMENTED,
};

const NO_INFERENCE: ServiceHandlers<typeof Inference> = {
  query: UNIMPLEMENTED,
  queryBatch: UNIMPLEMENTED,
  countTokens: UNIMPLEMENTED,
};

export interface Script {
  readonly contexts?: Partial<ServiceHandlers<typeof Contexts>>;
  readonly inference?: Partial<ServiceHandlers<typeof Inference>>;
}

export function startScripted(
  { contexts, inference }: Script,
  options: Pick<ServerOptions, "address" | "tls"> = { address: "127.0.0.1:0" },
): Promise<RunningServer> {
  return startServer({
    ...options,
    services: [implement(Contexts, { ...NO_CONTEXTS, ...contexts }), implement(Inference, { ...NO_INFERENCE, ...inference })],
  });
}

/** As an overloaded gateway refuses. */
export function busy(retryAfterMs: number): KvaultError {
  return new KvaultError("NO_CAPACITY", "Cannot take the query: too much is waiting", { details: { retryAfterMs } });
}

/** As the loss of a gateway looks to its callers. */
export function lost(): KvaultError {
  return new KvaultError("UNREACHABLE", "Cannot go on: the connection is gone", { details: { retryAfterMs: 1 } });
}
