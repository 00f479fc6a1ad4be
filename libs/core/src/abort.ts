/**
 * Deadlines and cancellation. Every wait takes an `AbortSignal`; an aborted one throws a
 * {@link KvaultError}: DEADLINE_EXCEEDED when time ran out, CANCELLED otherwise.
 *
 * @module
 */
import { KvaultError, toKvaultError } from "./errors.ts";

/** Throws when `signal` is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw abortError(signal);
}

/** The typed error for an aborted `signal`: its reason when that is ours. */
export function abortError(signal: AbortSignal): KvaultError {
  if (signal.reason instanceof KvaultError) return signal.reason;
  const known = toKvaultError(signal.reason);
  return known.code === "INTERNAL" ? new KvaultError("CANCELLED", "Request was cancelled", { cause: signal.reason }) : known;
}

/** Resolves as `promise` does, or rejects as soon as `signal` aborts; the work itself is not stopped by this. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  if (signal.aborted) {
    promise.catch(() => undefined);
    return Promise.reject(abortError(signal));
  }
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(abortError(signal));
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
