/**
 * What a caller says of one call.
 *
 * @module
 */

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Milliseconds since the epoch. Without one a call with a single reply gets 60 s and a stream none. */
  readonly deadlineMs?: number;
  /** Sent as `x-request-id`. */
  readonly requestId?: string;
}
