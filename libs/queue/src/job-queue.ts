/**
 * The contract of every queue driver: keyed jobs, tried again when that may help.
 *
 * - **One key, one job.** Adding a key whose job waits or runs joins that job. A finished job's
 *   key is free again.
 * - **Attempts.** A retryable KvaultError is tried again after a wait that doubles (half of it
 *   random), up to `maxAttempts`; any other error fails the job at once.
 * - **Cancelling** a waiting job ends it; a running one is told through `call.signal` and is over
 *   when its handler returns. Handlers must heed the signal: nothing else stops them.
 * - **Progress** is told in full each time; a slow watcher skips to the newest.
 *
 * The queue is a way to get work done, not a record of it: how a job ended is remembered for the
 * last `keepFinished` jobs, so that a watcher cannot come too late by a moment; the truth about a
 * context is in the catalogue and the store.
 *
 * @module
 */
import type { KvaultError } from "@kvault/core";

/** What a driver can do; the conformance suite reads this, never a driver's name. */
export interface QueueAbilities {
  /** Waiting jobs survive the process; jobs cut by `close` are taken up by another one. */
  readonly durable: boolean;
}

export interface AddOptions {
  /** Names the job; 1 to 128 characters of `a-z 0-9 . _ -`. */
  readonly key: string;
  /** 0 to 1000; lower runs first, equals in the order they were added. 0. */
  readonly priority?: number;
}

export interface AddedJob {
  readonly key: string;
  /** False when the key's job was there already and this request joined it. */
  readonly added: boolean;
}

/** What a handler is told of its job's run. */
export interface JobCall<Progress> {
  /** Aborts with CANCELLED (cancelled) or DRAINING (the queue closes and waited long enough). */
  readonly signal: AbortSignal;
  /** 1 for the first. */
  readonly attempt: number;
  /** From adding the job to this attempt's start, milliseconds. */
  readonly waitedMs: number;
  onProgress(progress: Progress): void;
}

export type JobHandler<Job, Result, Progress> = (job: Job, call: JobCall<Progress>) => Promise<Result>;

/** A job's state, whole each time. `completed` and `failed` are last. */
export type JobEvent<Result, Progress> =
  | { readonly type: "waiting"; readonly attempt: number }
  | { readonly type: "running"; readonly attempt: number; readonly progress?: Progress }
  | { readonly type: "completed"; readonly result: Result }
  | { readonly type: "failed"; readonly error: KvaultError };

export interface JobQueue<Job, Result, Progress> {
  readonly abilities: QueueAbilities;
  /** Resolves when the queue can be used; rejects with why not (INVALID_ARGUMENT when it never will). For the start of a service. */
  ready(): Promise<void>;
  /** NO_CAPACITY when `maxWaiting` jobs wait already; CLOSED after `close`. Job and result must survive JSON. */
  add(job: Job, options: AddOptions): Promise<AddedJob>;
  /** Starts taking jobs, `concurrency` at a time. Once per queue. */
  process(handler: JobHandler<Job, Result, Progress>, options: { readonly concurrency: number }): void;
  /** The state now, then changes; ends after `completed` or `failed`, at once when no such job is known. */
  watch(key: string, options?: { readonly signal?: AbortSignal }): AsyncIterable<JobEvent<Result, Progress>>;
  /** True when such a job waited or ran; resolves once it is over. */
  cancel(key: string, options?: { readonly signal?: AbortSignal }): Promise<boolean>;
  /** Takes no more jobs, lets running ones go on for `drainMs`, then aborts them. Idempotent. */
  close(options?: { readonly drainMs?: number }): Promise<void>;
}

export interface QueueOptions {
  /** Most attempts of one job; 3. */
  readonly maxAttempts?: number;
  /** Wait before the second attempt, doubled for each one after; 500 ms. */
  readonly backoffMs?: number;
  /** Most jobs waiting; 1000. */
  readonly maxWaiting?: number;
  /** Finished jobs whose end is remembered; 1000. */
  readonly keepFinished?: number;
  /** In [0, 1), for the jitter. */
  readonly random?: () => number;
}

/** `options` with every default filled in. */
export function completeOptions(options: QueueOptions): Required<QueueOptions> {
  return { maxAttempts: 3, backoffMs: 500, maxWaiting: 1000, keepFinished: 1000, random: Math.random, ...options };
}

/** Longest wait between two attempts. */
const MAX_BACKOFF_MS = 30_000;

/** Milliseconds to wait after `attempt` failed: doubling, the upper half of it random. */
export function backoffAfter(
  attempt: number,
  { backoffMs, random }: Pick<Required<QueueOptions>, "backoffMs" | "random">,
): number {
  const full = Math.min(MAX_BACKOFF_MS, backoffMs * 2 ** (attempt - 1));
  return full / 2 + (full / 2) * random();
}

/** RangeError for a key no driver could take. */
export function checkKey(key: string): void {
  if (!/^[a-z0-9._-]{1,128}$/.test(key)) throw new RangeError(`Cannot add job: key "${key}" is not 1 to 128 of a-z 0-9 . _ -`);
}

const MAX_PRIORITY = 1_000;

/** RangeError for a priority no driver could take. */
export function checkPriority(priority: number): void {
  if (Number.isInteger(priority) && priority >= 0 && priority <= MAX_PRIORITY) return;
  throw new RangeError(`Cannot add job: priority ${priority} is not a whole number from 0 to ${MAX_PRIORITY}`);
}
