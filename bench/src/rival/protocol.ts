/**
 * What the bench asks of llama.cpp, which runs in a process of its own so that the two sides'
 * threads never meet in one.
 *
 * @module
 */

/** Calls by name; `T` is what comes back. Times are milliseconds, taken inside the rival's process. */
export interface RivalCalls {
  /** Opens a context of `sequences` × `contextTokens`; an open one is closed. */
  open(call: { readonly sequences: number; readonly contextTokens: number; readonly batchTokens: number }): Promise<null>;
  /** Reads `ids` into the first sequence, empty before. */
  prefill(call: { readonly ids: readonly number[] }): Promise<{ readonly ms: number }>;
  /** Reads `ids` behind what the first sequence holds and draws one token; then forgets both. */
  firstToken(call: { readonly ids: readonly number[] }): Promise<{ readonly ms: number }>;
  save(call: { readonly path: string }): Promise<{ readonly bytes: number }>;
  /** Gives every sequence the saved state. */
  restore(call: { readonly path: string }): Promise<{ readonly ms: number }>;
  /** Decodes `steps` tokens in every sequence, all in one batch; the time of each step. */
  decode(call: { readonly steps: number }): Promise<{ readonly stepMs: readonly number[] }>;
}

export type RivalCall = {
  [Name in keyof RivalCalls]: { readonly name: Name; readonly call: Parameters<RivalCalls[Name]>[0] };
}[keyof RivalCalls];
export type RivalReply = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly message: string };
