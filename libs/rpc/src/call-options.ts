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
  /**
   * Of a stream of replies: joins one that came to the one before it, when that was not read yet, or
   * keeps them apart (undefined). A reader that falls behind so gets fewer and larger ones. Called
   * with messages of the method's reply.
   */
  // biome-ignore lint/suspicious/noExplicitAny: options are those of all methods
  readonly join?: (waiting: any, next: any) => unknown;
}
