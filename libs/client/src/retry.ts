/**
 * When a call is tried again, and after how long.
 *
 *     wait = max(what the server asked for · (1 + r/2), r · min(maxMs, initialMs · 2ⁿ))     r uniform in [0, 1)
 *
 * Bounded by attempts, by the longest wait a server may ask for, and by the call's own deadline: a
 * wait that would pass any of them is not begun, and the error of the last try is the call's.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { abortError, type KvaultError, throwIfAborted, toKvaultError } from "@kvault/core";
import { type CallOptions, retryAfterMs } from "@kvault/rpc";

export interface RetryPolicy {
  /** Tries of one call, the first included; 1 never tries again. */
  readonly maxAttempts: number;
  readonly initialMs: number;
  readonly maxMs: number;
  /** A server that asks for a longer wait is not waited for. */
  readonly longestWaitMs: number;
}

export const DEFAULT_RETRY: RetryPolicy = { maxAttempts: 5, initialMs: 200, maxMs: 5_000, longestWaitMs: 30_000 };

/** The next try may end otherwise. A build under way is followed ({@link Contexts.wait}), not asked again and again. */
export function isTransient({ retryable, code }: KvaultError): boolean {
  return retryable && code !== "CONTEXT_NOT_READY";
}

/** The tries of one call. */
export interface Tries {
  /** Resolves when the next one is due; throws what failed when there is none. */
  next(failure: unknown): Promise<void>;
  /** The call got further: earlier failures no longer count. */
  progressed(): void;
}

export interface TriesOptions extends Pick<CallOptions, "signal" | "deadlineMs"> {
  /** {@link isTransient} when absent. */
  readonly canRepeat?: (error: KvaultError) => boolean;
  /** Uniform in [0, 1); `Math.random` when absent. */
  readonly random?: () => number;
}

export function createTries(policy: RetryPolicy, options: TriesOptions): Tries {
  const { signal, deadlineMs = Number.POSITIVE_INFINITY, canRepeat = isTransient, random = Math.random } = options;
  let failures = 0;
  return {
    async next(failure) {
      throwIfAborted(signal);
      const error = toKvaultError(failure);
      failures += 1;
      const askedMs = retryAfterMs(error) ?? 0;
      if (!canRepeat(error) || failures >= policy.maxAttempts || askedMs > policy.longestWaitMs) throw error;
      const backoffMs = random() * Math.min(policy.maxMs, policy.initialMs * 2 ** (failures - 1));
      const waitMs = Math.max(askedMs * (1 + random() / 2), backoffMs);
      if (Date.now() + waitMs >= deadlineMs) throw error;
      await sleep(waitMs, undefined, signal === undefined ? {} : { signal }).catch((thrown: unknown) => {
        throw signal?.aborted === true ? abortError(signal) : thrown;
      });
    },
    progressed() {
      failures = 0;
    },
  };
}
