/**
 * What a caller says of one call.
 *
 * @module
 */
import type { CallOptions } from "@kvault/rpc";

export interface CallSettings {
  /** Ends the call, and everything done for it on the other side. */
  readonly signal?: AbortSignal;
  /** For the whole call, retries included. A call with one reply gets 60 s; streams and builds have none. */
  readonly timeoutMs?: number;
  /** Names the request in the gateway's log, for `kvault explain`. */
  readonly requestId?: string;
}

/** With a point in time in place of a length, so that every try has the rest of it. */
export function callOptions({ signal, timeoutMs, requestId }: CallSettings, defaultTimeoutMs?: number): CallOptions {
  const allowedMs = timeoutMs ?? defaultTimeoutMs;
  return {
    ...(signal === undefined ? {} : { signal }),
    ...(allowedMs === undefined ? {} : { deadlineMs: Date.now() + allowedMs }),
    ...(requestId === undefined ? {} : { requestId }),
  };
}
