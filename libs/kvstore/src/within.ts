/**
 * A bound on waiting for another machine.
 *
 * A process that computes blocks its event loop, sometimes for longer than a deadline; the
 * timer then fires before the reply that has long arrived is read. So a timer that fires late
 * waits once more for the loop to catch up before it gives the call up.
 *
 * @module
 */
import { abortError, KvaultError } from "@kvault/core";

/** A timer later than this means that the loop was blocked. */
const BLOCKED_MS = 100;

/** As `promise`, or STORE_UNAVAILABLE after `ms`, or the signal's error when it aborts; the work itself is not stopped. */
export function within<T>(promise: Promise<T>, ms: number, signal?: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const startedMs = performance.now();
    const giveUp = (): void =>
      reject(new KvaultError("STORE_UNAVAILABLE", `no answer in ${Math.round(performance.now() - startedMs)} ms`));
    const onTimer = (): void => {
      const lateMs = performance.now() - startedMs - ms;
      timer = setTimeout(giveUp, lateMs > BLOCKED_MS ? Math.min(ms, 1_000) : 0);
    };
    let timer = setTimeout(onTimer, ms);
    const onAbort = (): void => reject(abortError(signal as AbortSignal));
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    });
  });
}

/** Resolves after `ms`, or rejects as soon as `signal` aborts. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(abortError(signal));
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(abortError(signal as AbortSignal));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
