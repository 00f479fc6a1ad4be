/**
 * Jobs in this process: first come, first run. Nothing survives the process.
 *
 * @module
 */
import { abortError, KvaultError, Latest, orAborted, toKvaultError } from "@kvault/core";
import { bindTrace, inSpan } from "@kvault/telemetry";
import {
  type AddedJob,
  type AddOptions,
  backoffAfter,
  checkKey,
  checkPriority,
  completeOptions,
  type JobEvent,
  type JobHandler,
  type JobQueue,
  type QueueAbilities,
  type QueueOptions,
} from "../job-queue.ts";

/** What a handler that heeds its signal needs at most to return once aborted. */
const ABORT_GRACE_MS = 1_000;

interface Entry<Job, Result, Progress> {
  readonly key: string;
  readonly job: Job;
  /** Runs work as part of the trace that added the job. */
  readonly run: <T>(work: () => T) => T;
  readonly priority: number;
  readonly addedMs: number;
  readonly controller: AbortController;
  readonly watchers: Set<Latest<JobEvent<Result, Progress>>>;
  /** Resolves when the job is over. Never rejects. */
  readonly over: Promise<void>;
  readonly finish: () => void;
  attempt: number;
  running: boolean;
  backoff: NodeJS.Timeout | undefined;
  state: JobEvent<Result, Progress>;
}

export class LocalQueue<Job, Result, Progress> implements JobQueue<Job, Result, Progress> {
  readonly abilities: QueueAbilities = { durable: false };
  readonly #options: Required<QueueOptions>;
  readonly #entries = new Map<string, Entry<Job, Result, Progress>>();
  /** How the last jobs ended, oldest first. */
  readonly #finished = new Map<string, JobEvent<Result, Progress>>();
  /** Ready to run: by priority, then oldest first. */
  #ready: Entry<Job, Result, Progress>[] = [];
  #handler: JobHandler<Job, Result, Progress> | undefined;
  #concurrency = 0;
  #numRunning = 0;
  #closing: Promise<void> | undefined;

  constructor(options: QueueOptions = {}) {
    this.#options = completeOptions(options);
  }

  async ready(): Promise<void> {
    // There is nothing to reach.
  }

  async add(job: Job, { key, priority = 0 }: AddOptions): Promise<AddedJob> {
    checkKey(key);
    checkPriority(priority);
    if (this.#closing !== undefined) throw new KvaultError("CLOSED", `Cannot add job "${key}": the queue is closed`);
    if (this.#entries.has(key)) return { key, added: false };
    const numWaiting = this.#entries.size - this.#numRunning;
    if (numWaiting >= this.#options.maxWaiting) {
      throw new KvaultError("NO_CAPACITY", `Cannot add job "${key}": ${numWaiting} jobs wait already`, {
        details: { waiting: numWaiting },
      });
    }
    let finish = (): void => undefined;
    const over = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const entry: Entry<Job, Result, Progress> = {
      key,
      job,
      run: bindTrace((work) => work()),
      priority,
      addedMs: performance.now(),
      controller: new AbortController(),
      watchers: new Set(),
      over,
      finish,
      attempt: 1,
      running: false,
      backoff: undefined,
      state: { type: "waiting", attempt: 1 },
    };
    this.#entries.set(key, entry);
    this.#enqueue(entry);
    this.#pump();
    return { key, added: true };
  }

  process(handler: JobHandler<Job, Result, Progress>, { concurrency }: { readonly concurrency: number }): void {
    if (this.#handler !== undefined) throw new TypeError("Cannot process twice: this queue has a handler");
    if (!Number.isInteger(concurrency) || concurrency < 1) throw new RangeError(`Cannot run ${concurrency} jobs at a time`);
    this.#handler = handler;
    this.#concurrency = concurrency;
    this.#pump();
  }

  async *watch(key: string, options: { readonly signal?: AbortSignal } = {}): AsyncIterable<JobEvent<Result, Progress>> {
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      const ended = this.#finished.get(key);
      if (ended !== undefined) yield ended;
      return;
    }
    const watcher = new Latest<JobEvent<Result, Progress>>();
    watcher.put(entry.state);
    entry.watchers.add(watcher);
    try {
      yield* watcher.read(options.signal);
    } finally {
      entry.watchers.delete(watcher);
    }
  }

  async cancel(key: string, options: { readonly signal?: AbortSignal } = {}): Promise<boolean> {
    const entry = this.#entries.get(key);
    if (entry === undefined) return false;
    this.#stop(entry, new KvaultError("CANCELLED", `Job "${key}" was cancelled`));
    await orAborted(entry.over, options.signal);
    return true;
  }

  close({ drainMs = 10_000 }: { readonly drainMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#drain(drainMs);
    return this.#closing;
  }

  async #drain(drainMs: number): Promise<void> {
    const reason = (): KvaultError => new KvaultError("DRAINING", "Cannot go on with the job: the queue is closing");
    for (const entry of [...this.#entries.values()]) if (!entry.running) this.#stop(entry, reason());
    const allOver = Promise.all([...this.#entries.values()].map((entry) => entry.over));
    if (await settledWithin(allOver, drainMs)) return;
    for (const entry of [...this.#entries.values()]) this.#stop(entry, reason());
    await settledWithin(allOver, ABORT_GRACE_MS);
  }

  /** Ends a job that waits; tells one that runs. */
  #stop(entry: Entry<Job, Result, Progress>, reason: KvaultError): void {
    entry.controller.abort(reason);
    if (entry.running) return;
    clearTimeout(entry.backoff);
    this.#ready = this.#ready.filter((other) => other !== entry);
    this.#end(entry, { type: "failed", error: reason });
  }

  #enqueue(entry: Entry<Job, Result, Progress>): void {
    const behind = this.#ready.findIndex((other) => other.priority > entry.priority);
    this.#ready.splice(behind === -1 ? this.#ready.length : behind, 0, entry);
  }

  #pump(): void {
    const handler = this.#handler;
    if (handler === undefined) return;
    while (this.#numRunning < this.#concurrency) {
      const entry = this.#ready.shift();
      if (entry === undefined) return;
      this.#numRunning++;
      entry.running = true;
      void this.#run(entry, handler);
    }
  }

  async #run(entry: Entry<Job, Result, Progress>, handler: JobHandler<Job, Result, Progress>): Promise<void> {
    const { attempt, controller } = entry;
    this.#tell(entry, { type: "running", attempt });
    let outcome: JobEvent<Result, Progress>;
    try {
      const handle = (): Promise<Result> =>
        handler(entry.job, {
          signal: controller.signal,
          attempt,
          waitedMs: performance.now() - entry.addedMs,
          onProgress: (progress) => {
            if (entry.running && entry.attempt === attempt) this.#tell(entry, { type: "running", attempt, progress });
          },
        });
      const attributes = {
        "messaging.system": "kvault.local",
        "messaging.operation.type": "process",
        "messaging.message.id": entry.key,
      };
      const result = await entry.run(() => inSpan("process build", { kind: "consumer", attributes }, handle));
      outcome = { type: "completed", result };
    } catch (thrown) {
      const error = controller.signal.aborted ? abortError(controller.signal) : toKvaultError(thrown);
      outcome = { type: "failed", error };
    }
    this.#numRunning--;
    entry.running = false;
    const again =
      outcome.type === "failed" && outcome.error.retryable && !controller.signal.aborted && this.#closing === undefined;
    if (again && attempt < this.#options.maxAttempts) this.#retryLater(entry);
    else this.#end(entry, outcome);
    this.#pump();
  }

  #retryLater(entry: Entry<Job, Result, Progress>): void {
    const waitMs = backoffAfter(entry.attempt, this.#options);
    entry.attempt++;
    this.#tell(entry, { type: "waiting", attempt: entry.attempt });
    entry.backoff = setTimeout(() => {
      this.#enqueue(entry);
      this.#pump();
    }, waitMs);
  }

  #tell(entry: Entry<Job, Result, Progress>, state: JobEvent<Result, Progress>): void {
    entry.state = state;
    for (const watcher of entry.watchers) watcher.put(state);
  }

  #end(entry: Entry<Job, Result, Progress>, state: JobEvent<Result, Progress>): void {
    this.#entries.delete(entry.key);
    this.#finished.delete(entry.key);
    this.#finished.set(entry.key, state);
    for (const key of this.#finished.keys()) {
      if (this.#finished.size <= this.#options.keepFinished) break;
      this.#finished.delete(key);
    }
    this.#tell(entry, state);
    for (const watcher of entry.watchers) watcher.end();
    entry.finish();
  }
}

/** True when `promise` settled within `ms`. */
async function settledWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  return Promise.race([promise.then(() => true), late]).finally(() => clearTimeout(timer));
}
