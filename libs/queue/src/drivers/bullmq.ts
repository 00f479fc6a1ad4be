/**
 * Jobs in Redis through BullMQ: shared by many processes, kept through their deaths.
 *
 * - **Locks.** This process renews the lock of each job it runs, so it must not compute itself
 *   (engines are other processes). A job whose worker fell silent is given to another one.
 * - **Keys.** BullMQ's deduplication joins adds of one key. It is a hint: should it fail, two
 *   workers build the same thing, and the store keeps one. Which job a key last named is noted
 *   beside it, for those who ask after the end.
 * - **Watching.** Events only wake a watcher up; what it tells is read from the job itself, and
 *   once a second anyway, so a lost event costs a second.
 * - **Cancelling** sets a flag and calls it out; the worker that runs the job hears the call, or
 *   finds the flag.
 * - **Closing** gives running jobs back to the queue, for another worker to start at once.
 * - **Traces** go with the job: the handler runs within a span of the trace that added it. Without
 *   an OpenTelemetry SDK in the process this does nothing.
 * - **Data.** Redis holds references, never texts: a job is limited to 64 KiB.
 *
 * A call that found no Redis is UNREACHABLE, and may have been done all the same: adding again
 * joins what the first try added.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import {
  abortError,
  invalidArgument,
  isKvaultError,
  KvaultError,
  Latest,
  orAborted,
  throwIfAborted,
  toKvaultError,
} from "@kvault/core";
import { Job as BullmqJob, Queue, QueueEvents, UnrecoverableError, WaitingError, Worker } from "bullmq";
import { BullMQOtel } from "bullmq-otel";
import { Redis } from "ioredis";
import {
  type AddedJob,
  type AddOptions,
  checkKey,
  checkPriority,
  completeOptions,
  type JobEvent,
  type JobHandler,
  type JobQueue,
  type QueueAbilities,
  type QueueOptions,
} from "../job-queue.ts";
import { type BullmqSettings, parseQueueUrl, refuseEviction } from "./bullmq-settings.ts";
import { decodeFailure, encodeFailure } from "./failed-reason.ts";
import { ProgressWriter } from "./progress-writer.ts";

/** Largest job, as JSON. */
const MAX_JOB_BYTES = 64 * 1024;
const JOB_NAME = "job";
/** Wait before the second attempt unless told otherwise. */
const BACKOFF_MS = 5_000;
/** Part of a wait that is random. */
const JITTER = 0.5;
const KEEP_COMPLETED_SECONDS = 3_600;
const KEEP_FAILED_SECONDS = 7 * 24 * 3_600;
const KEEP_FAILED = 5_000;
/** Watchers and workers look for themselves so often, should an event or call be lost. */
const POLL_MS = 1_000;
const RESTART_MS = 500;
/** A lost renewal or two must not cost a worker its job. */
const RENEWALS_PER_LOCK = 3;
/** What a handler that heeds its signal needs at most to return once aborted. */
const ABORT_GRACE_MS = 1_000;
/** A key whose job just ended is tried again so often. */
const MAX_ADDS = 3;

interface JobData<Job> {
  readonly key: string;
  readonly job: Job;
}

/** Which job a key named last; `ended` when that job is gone from Redis. */
interface LastJob {
  readonly id: string;
  readonly ended?: string;
}

export class BullmqQueue<Job, Result, Progress> implements JobQueue<Job, Result, Progress> {
  readonly abilities: QueueAbilities = { durable: true };
  readonly #settings: BullmqSettings;
  readonly #options: Required<QueueOptions>;
  readonly #redis: Redis;
  readonly #queue: Queue;
  readonly #events: QueueEvents;
  readonly #telemetry = new BullMQOtel({ tracerName: "kvault.queue" });
  readonly #running = new Map<string, AbortController>();
  /** Wakes the watchers of a job, by its id. */
  readonly #wakers = new Map<string, Set<() => void>>();
  readonly #pumps = new Set<Promise<void>>();
  #checked: Promise<void> | undefined;
  #processing = false;
  #worker: Worker | undefined;
  #subscriber: Redis | undefined;
  #cancelPoll: NodeJS.Timeout | undefined;
  #closing: Promise<void> | undefined;
  #closed = false;

  constructor(url: string, options: QueueOptions = {}) {
    this.#settings = parseQueueUrl(url);
    this.#options = completeOptions({ backoffMs: BACKOFF_MS, ...options });
    const { connection, prefix, queueName } = this.#settings;
    this.#redis = new Redis(connection);
    this.#queue = new Queue(queueName, { connection: this.#redis, prefix, telemetry: this.#telemetry });
    this.#events = new QueueEvents(queueName, { connection, prefix });
    // A broken connection is told by the calls that needed it.
    const ignore = (): void => undefined;
    this.#redis.on("error", ignore);
    this.#queue.on("error", ignore);
    this.#events.on("error", ignore);
    const wake = ({ jobId }: { readonly jobId: string }): void => this.#wake(jobId);
    for (const event of ["active", "waiting", "delayed", "progress", "completed", "failed", "removed", "stalled"] as const) {
      this.#events.on(event, wake);
    }
  }

  ready(): Promise<void> {
    this.#checked ??= this.#ask("use queue", async () => refuseEviction(await this.#redis.info("memory"))).catch(
      (error: unknown) => {
        this.#checked = undefined;
        throw error;
      },
    );
    return this.#checked;
  }

  async add(job: Job, { key, priority = 0 }: AddOptions): Promise<AddedJob> {
    checkKey(key);
    checkPriority(priority);
    if (this.#closing !== undefined) throw closedError(`add job "${key}"`);
    const data: JobData<Job> = { key, job };
    const bytes = Buffer.byteLength(JSON.stringify(data));
    if (bytes > MAX_JOB_BYTES) {
      const message = `Cannot add job "${key}": ${bytes} bytes, limit ${MAX_JOB_BYTES}; put large inputs into the store`;
      throw invalidArgument("job", message, { key, bytes });
    }
    await this.ready();
    return this.#ask(`add job "${key}"`, () => this.#add(key, data, priority));
  }

  process(handler: JobHandler<Job, Result, Progress>, { concurrency }: { readonly concurrency: number }): void {
    if (this.#processing) throw new TypeError("Cannot process twice: this queue has a handler");
    if (!Number.isInteger(concurrency) || concurrency < 1) throw new RangeError(`Cannot run ${concurrency} jobs at a time`);
    this.#processing = true;
    void this.#startWorker(handler, concurrency);
  }

  async *watch(key: string, { signal }: { readonly signal?: AbortSignal } = {}): AsyncIterable<JobEvent<Result, Progress>> {
    throwIfAborted(signal);
    const last = await this.#ask(`watch job "${key}"`, () => this.#find(key), signal);
    if (last === undefined) return;
    const latest = new Latest<JobEvent<Result, Progress>>();
    const stop = new AbortController();
    const pump = this.#pump(key, last.id, latest, stop.signal);
    this.#pumps.add(pump);
    void pump.finally(() => this.#pumps.delete(pump));
    try {
      yield* latest.read(signal);
    } finally {
      stop.abort();
      this.#wake(last.id);
    }
  }

  async cancel(key: string, { signal }: { readonly signal?: AbortSignal } = {}): Promise<boolean> {
    throwIfAborted(signal);
    const reason = new KvaultError("CANCELLED", `Job "${key}" was cancelled`);
    const id = await this.#ask(`cancel job "${key}"`, () => this.#stop(key, reason), signal);
    if (id === undefined) return false;
    const watcher = this.#waker(id);
    try {
      while (!(await this.#ask(`cancel job "${key}"`, () => this.#isOver(id), signal))) await watcher.woken(signal);
    } finally {
      watcher.release();
    }
    return true;
  }

  close({ drainMs = 10_000 }: { readonly drainMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#drain(drainMs);
    return this.#closing;
  }

  async #add(key: string, data: JobData<Job>, priority: number): Promise<AddedJob> {
    const { maxWaiting, maxAttempts, backoffMs, keepFinished } = this.#options;
    for (let adds = 1; adds <= MAX_ADDS; adds++) {
      const live = await this.#queue.getDeduplicationJobId(key);
      if (live !== null) {
        if (!(await this.#isOver(live))) return { key, added: false };
        // Its job is gone and the hint was left behind: drop it, unless another has taken the key by now.
        await new BullmqJob(this.#queue, JOB_NAME, {}, { deduplication: { id: key } }, live).removeDeduplicationKey();
      }
      const waiting = await this.#queue.getJobCountByTypes("waiting", "prioritized", "delayed");
      if (waiting >= maxWaiting) {
        throw new KvaultError("NO_CAPACITY", `Cannot add job "${key}": ${waiting} jobs wait already`, { details: { waiting } });
      }
      const id = randomUUID();
      const added = await this.#queue.add(JOB_NAME, data, {
        jobId: id,
        deduplication: { id: key },
        attempts: maxAttempts,
        backoff: { type: "exponential", delay: backoffMs, jitter: JITTER },
        removeOnComplete: { age: KEEP_COMPLETED_SECONDS, count: keepFinished },
        removeOnFail: { age: KEEP_FAILED_SECONDS, count: Math.max(KEEP_FAILED, keepFinished) },
        stackTraceLimit: 0,
        ...(priority === 0 ? {} : { priority }),
      });
      if (added.id === id) {
        await this.#note(key, { id });
        return { key, added: true };
      }
    }
    return { key, added: false };
  }

  /** The job that `key` names now, or else named last. */
  async #find(key: string): Promise<LastJob | undefined> {
    const [live, noted] = await Promise.all([this.#queue.getDeduplicationJobId(key), this.#redis.get(this.#noteKey(key))]);
    const last = noted === null ? undefined : (JSON.parse(noted) as LastJob);
    return live === null || live === last?.id ? last : { id: live };
  }

  async #note(key: string, last: LastJob): Promise<void> {
    await this.#redis.set(this.#noteKey(key), JSON.stringify(last), "EX", KEEP_FAILED_SECONDS);
  }

  #noteKey(key: string): string {
    return `${this.#settings.prefix}:last:${this.#settings.queueName}:${key}`;
  }

  #cancelKey(id: string): string {
    return `${this.#settings.prefix}:cancel:${this.#settings.queueName}:${id}`;
  }

  #cancelChannel(): string {
    return `${this.#settings.prefix}:cancel:${this.#settings.queueName}`;
  }

  /** True when job `id` will not run (again). */
  async #isOver(id: string): Promise<boolean> {
    const state = await this.#queue.getJobState(id);
    return state === "completed" || state === "failed" || state === "unknown";
  }

  /** Takes the job of `key` out of the queue, or tells its worker; its id, or undefined when no such job waits or runs. */
  async #stop(key: string, reason: KvaultError): Promise<string | undefined> {
    const last = await this.#find(key);
    if (last === undefined || last.ended !== undefined || (await this.#isOver(last.id))) return undefined;
    // The flag first: a worker that takes the job just now will find it.
    await this.#redis.set(this.#cancelKey(last.id), encodeFailure(reason), "EX", KEEP_COMPLETED_SECONDS);
    const removed = await this.#queue.remove(last.id);
    if (removed === 1) {
      await this.#note(key, { id: last.id, ended: encodeFailure(reason) });
      this.#wake(last.id);
    } else {
      await this.#redis.publish(this.#cancelChannel(), last.id);
    }
    return last.id;
  }

  /** Tells `latest` what job `id` does until it is over, the watcher leaves or the queue closes. */
  async #pump(key: string, id: string, latest: Latest<JobEvent<Result, Progress>>, stopped: AbortSignal): Promise<void> {
    const watcher = this.#waker(id);
    let told = "";
    let missed = 0;
    try {
      while (!stopped.aborted) {
        const closed = this.#closed;
        const event = await this.#ask(`watch job "${key}"`, () => this.#read(key, id)).catch(() => "later" as const);
        if (event === undefined) {
          // Removed this moment, and how it ended is about to be noted; or long gone.
          if (++missed > 1) return;
        } else if (event !== "later") {
          const text = JSON.stringify(event);
          if (text !== told) latest.put(event);
          told = text;
          if (event.type === "completed" || event.type === "failed") return;
        }
        if (closed) return;
        await watcher.woken();
      }
    } finally {
      watcher.release();
      latest.end();
    }
  }

  /** What job `id` does now; undefined when Redis does not know it. The state is read first: fields are only added later. */
  async #read(key: string, id: string): Promise<JobEvent<Result, Progress> | undefined> {
    const state = await this.#queue.getJobState(id);
    const job = (await this.#queue.getJob(id)) as BullmqJob<JobData<Job>, Result> | undefined;
    if (job === undefined || state === "unknown") {
      const last = await this.#find(key);
      if (last?.id !== id || last.ended === undefined) return undefined;
      return { type: "failed", error: decodeFailure(last.ended) };
    }
    if (state === "completed") return { type: "completed", result: job.returnvalue };
    if (state === "failed") return { type: "failed", error: decodeFailure(job.failedReason) };
    if (state !== "active") {
      // Taken between the two reads: then the attempt counted in the job is the one that runs.
      if ((await this.#queue.getJobState(id)) !== state) return this.#read(key, id);
      return { type: "waiting", attempt: job.attemptsStarted + 1 };
    }
    const { progress } = (job.progress === 0 ? {} : job.progress) as { readonly progress?: Progress };
    return { type: "running", attempt: job.attemptsStarted, ...(progress === undefined ? {} : { progress }) };
  }

  async #startWorker(handler: JobHandler<Job, Result, Progress>, concurrency: number): Promise<void> {
    for (;;) {
      if (this.#closing !== undefined) return;
      const error = await this.ready().then(
        () => undefined,
        (thrown: unknown) => thrown,
      );
      if (error === undefined) break;
      // ready() tells it to whoever asks; no later try can do better.
      if (isKvaultError(error, "INVALID_ARGUMENT")) return;
      await new Promise((resolve) => setTimeout(resolve, RESTART_MS));
    }
    if (this.#closing !== undefined) return;
    const { connection, prefix, queueName, lockMs, stalledMs, maxStalled } = this.#settings;
    const subscriber = new Redis(connection);
    subscriber.on("error", () => undefined);
    subscriber.on("message", (_channel, id) => void this.#heedCancel([id]));
    subscriber.subscribe(this.#cancelChannel()).catch(() => undefined);
    this.#subscriber = subscriber;
    this.#cancelPoll = setInterval(() => void this.#heedCancel([...this.#running.keys()]), POLL_MS);
    this.#worker = new Worker(queueName, (job, token) => this.#run(job as BullmqJob<JobData<Job>, Result>, token, handler), {
      connection,
      prefix,
      telemetry: this.#telemetry,
      concurrency,
      lockDuration: lockMs,
      lockRenewTime: lockMs / RENEWALS_PER_LOCK,
      stalledInterval: stalledMs,
      maxStalledCount: maxStalled,
      runRetryDelay: RESTART_MS,
    });
    this.#worker.on("error", () => undefined);
    // Another worker may have the job by now: this one's work is for nothing.
    this.#worker.on("lockRenewalFailed", (ids) => {
      for (const id of ids)
        this.#running.get(id)?.abort(new KvaultError("ENGINE_DIED", "Cannot go on with the job: its lock was lost"));
    });
  }

  /** Aborts those of `ids` that run here and were cancelled. */
  async #heedCancel(ids: readonly string[]): Promise<void> {
    const here = ids.filter((id) => this.#running.get(id)?.signal.aborted === false);
    if (here.length === 0) return;
    const reasons = await this.#redis.mget(here.map((id) => this.#cancelKey(id))).catch(() => []);
    for (const [i, reason] of reasons.entries()) {
      if (reason !== null) this.#running.get(here[i] as string)?.abort(decodeFailure(reason));
    }
  }

  /** The processor's outermost line: here errors become what BullMQ acts on. */
  async #run(
    job: BullmqJob<JobData<Job>, Result>,
    token: string | undefined,
    handler: JobHandler<Job, Result, Progress>,
  ): Promise<Result> {
    const id = job.id as string;
    const controller = new AbortController();
    const writer = new ProgressWriter<Progress>((progress) => job.updateProgress({ progress }));
    this.#running.set(id, controller);
    try {
      await this.#heedCancel([id]);
      throwIfAborted(controller.signal);
      return await handler(job.data.job, {
        signal: controller.signal,
        attempt: job.attemptsStarted,
        waitedMs: Math.max(0, Date.now() - job.timestamp),
        onProgress: (progress) => writer.put(progress),
      });
    } catch (thrown) {
      const error = controller.signal.aborted ? abortError(controller.signal) : toKvaultError(thrown);
      if (controller.signal.aborted && error.code === "DRAINING") {
        await job.moveToWait(token);
        throw new WaitingError();
      }
      const reason = encodeFailure(error);
      throw error.retryable ? new Error(reason) : new UnrecoverableError(reason);
    } finally {
      this.#running.delete(id);
      await writer.flush();
    }
  }

  async #drain(drainMs: number): Promise<void> {
    clearInterval(this.#cancelPoll);
    const worker = this.#worker;
    if (worker !== undefined) {
      const closed = worker.close();
      if (!(await settledWithin(closed, drainMs))) {
        const reason = new KvaultError("DRAINING", "Cannot go on with the job: the queue is closing");
        for (const controller of this.#running.values()) controller.abort(reason);
        // A job whose handler does not return is another worker's once its lock runs out.
        if (!(await settledWithin(closed, ABORT_GRACE_MS))) await settledWithin(worker.disconnect(), ABORT_GRACE_MS);
      }
    }
    // Watchers get a last look at their jobs.
    this.#closed = true;
    for (const id of [...this.#wakers.keys()]) this.#wake(id);
    await settledWithin(Promise.all(this.#pumps), ABORT_GRACE_MS);
    await settledWithin(Promise.all([this.#events.close(), this.#queue.close()]), ABORT_GRACE_MS);
    this.#subscriber?.disconnect();
    this.#redis.disconnect();
  }

  #wake(id: string): void {
    for (const wake of this.#wakers.get(id) ?? []) wake();
  }

  /** For one waiter on the changes of job `id`: none between two looks is missed. */
  #waker(id: string): { woken(signal?: AbortSignal): Promise<void>; release(): void } {
    let pending = false;
    let notify = (): void => undefined;
    const wake = (): void => {
      pending = true;
      notify();
    };
    const wakers = this.#wakers.get(id) ?? new Set();
    this.#wakers.set(id, wakers.add(wake));
    return {
      woken: async (signal) => {
        let timer: NodeJS.Timeout | undefined;
        const waiting = new Promise<void>((resolve) => {
          notify = resolve;
          if (pending) resolve();
          else timer = setTimeout(resolve, POLL_MS);
        });
        await orAborted(waiting, signal).finally(() => clearTimeout(timer));
        pending = false;
      },
      release: () => {
        wakers.delete(wake);
        if (wakers.size === 0) this.#wakers.delete(id);
      },
    };
  }

  /** `call` with a deadline, its failures typed. */
  async #ask<T>(action: string, call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (this.#closed) throw closedError(action);
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), this.#settings.timeoutMs);
    try {
      return await orAborted(call(), signal === undefined ? late.signal : AbortSignal.any([signal, late.signal]));
    } catch (error) {
      if (signal?.aborted === true) throw abortError(signal);
      if (late.signal.aborted) {
        throw new KvaultError("UNREACHABLE", `Cannot ${action}: Redis gave no answer in ${this.#settings.timeoutMs} ms`);
      }
      if (error instanceof KvaultError) throw error;
      const message = error instanceof Error ? error.message : String(error);
      throw new KvaultError("UNREACHABLE", `Cannot ${action}: ${message}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }
}

function closedError(action: string): KvaultError {
  return new KvaultError("CLOSED", `Cannot ${action}: the queue is closed`);
}

/** True when `promise` settled within `ms`. */
async function settledWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  const settled = promise.then(
    () => true,
    () => true,
  );
  return Promise.race([settled, late]).finally(() => clearTimeout(timer));
}
