/**
 * What every queue driver must satisfy. Checks are plain functions so that they run under any
 * test runner, and against a broken driver to prove that they would notice.
 *
 * @module
 */
import assert from "node:assert/strict";
import { isKvaultError, KvaultError } from "@kvault/core";
import type { JobEvent, JobQueue, QueueOptions } from "../job-queue.ts";

export interface TestJob {
  readonly value: number;
}
export type TestQueue = JobQueue<TestJob, string, number>;

/** Opens a fresh, empty queue. Options keep the waits of a check short. */
export type OpenTestQueue = (options: QueueOptions) => Promise<TestQueue>;

export interface ConformanceCheck {
  readonly name: string;
  run(): Promise<void>;
}

/** No check waits for anything longer than this. */
const PATIENCE_MS = 10_000;
const FAST: QueueOptions = { maxAttempts: 3, backoffMs: 4 };

export function jobQueueConformance(open: OpenTestQueue): ConformanceCheck[] {
  const check = (name: string, body: (queue: TestQueue) => Promise<void>, options: QueueOptions = FAST): ConformanceCheck => ({
    name,
    run: async () => {
      const queue = await open(options);
      try {
        await patiently(body(queue), name);
      } finally {
        await queue.close({ drainMs: 0 });
      }
    },
  });

  return [
    check("runs a job and tells its watcher the result", async (queue) => {
      queue.process(async ({ value }) => `got ${value}`, { concurrency: 1 });
      assert.deepEqual(await addAndWatch(queue, "a", 7), { type: "completed", result: "got 7" });
    }),

    check("keeps jobs that were added before anybody processes them", async (queue) => {
      await queue.add({ value: 1 }, { key: "a" });
      const last = lastEvent(queue, "a");
      queue.process(async ({ value }) => `got ${value}`, { concurrency: 1 });
      assert.deepEqual(await last, { type: "completed", result: "got 1" });
    }),

    check("joins a job of the same key: many adds at once, one run", async (queue) => {
      let runs = 0;
      const started = gate();
      const finish = gate();
      queue.process(
        async () => {
          runs++;
          started.pass();
          await finish.passed;
          return "done";
        },
        { concurrency: 4 },
      );
      const added = await Promise.all(Array.from({ length: 50 }, () => queue.add({ value: 1 }, { key: "same" })));
      await started.passed;
      assert.equal((await queue.add({ value: 1 }, { key: "same" })).added, false);
      assert.equal(added.filter((job) => job.added).length, 1);
      const last = lastEvent(queue, "same");
      finish.pass();
      assert.equal((await last)?.type, "completed");
      assert.equal(runs, 1);
    }),

    check("frees the key when the job is over", async (queue) => {
      let runs = 0;
      queue.process(async () => `run ${++runs}`, { concurrency: 1 });
      assert.deepEqual(await addAndWatch(queue, "a", 1), { type: "completed", result: "run 1" });
      assert.deepEqual(await addAndWatch(queue, "a", 1), { type: "completed", result: "run 2" });
    }),

    check("runs jobs of a lower priority number first, equals in the order they were added", async (queue) => {
      const order: number[] = [];
      const priorities = [2, 1, 2, 0, 1, 0];
      for (const [value, priority] of priorities.entries()) await queue.add({ value }, { key: `job-${value}`, priority });
      queue.process(
        async ({ value }) => {
          order.push(value);
          return "";
        },
        { concurrency: 1 },
      );
      await Promise.all(priorities.map((_, i) => lastEvent(queue, `job-${i}`)));
      assert.deepEqual(order, [3, 5, 1, 4, 0, 2]);
      await assert.rejects(queue.add({ value: 1 }, { key: "a", priority: -1 }), RangeError);
    }),

    check("runs no more jobs at a time than asked", async (queue) => {
      let running = 0;
      let most = 0;
      queue.process(
        async () => {
          most = Math.max(most, ++running);
          await new Promise((resolve) => setTimeout(resolve, 2));
          running--;
          return "";
        },
        { concurrency: 3 },
      );
      const keys = Array.from({ length: 12 }, (_, i) => `job-${i}`);
      await Promise.all(keys.map((key) => addAndWatch(queue, key, 1)));
      assert.equal(most, 3);
    }),

    check("tries a retryable failure again, counting attempts, and completes", async (queue) => {
      const attempts: number[] = [];
      queue.process(
        async (_, { attempt }) => {
          attempts.push(attempt);
          if (attempt < 3) throw new KvaultError("ENGINE_DIED", "Cannot go on: engine died");
          return "made it";
        },
        { concurrency: 1 },
      );
      assert.deepEqual(await addAndWatch(queue, "a", 1), { type: "completed", result: "made it" });
      assert.deepEqual(attempts, [1, 2, 3]);
    }),

    check("gives up after the last attempt with the error of that attempt", async (queue) => {
      let runs = 0;
      queue.process(
        async () => {
          throw new KvaultError("ENGINE_DIED", `death ${++runs}`, { details: { worker: "w1" } });
        },
        { concurrency: 1 },
      );
      const error = failureOf(await addAndWatch(queue, "a", 1));
      assert.deepEqual([runs, error.code, error.message, error.details["worker"]], [3, "ENGINE_DIED", "death 3", "w1"]);
    }),

    check("fails at once on an error no retry can help", async (queue) => {
      let runs = 0;
      queue.process(
        async () => {
          runs++;
          throw new KvaultError("TOKEN_LIMIT", "Cannot build: too long");
        },
        { concurrency: 1 },
      );
      assert.equal(failureOf(await addAndWatch(queue, "a", 1)).code, "TOKEN_LIMIT");
      assert.equal(runs, 1);
    }),

    check("fails at once on a bug, as INTERNAL", async (queue) => {
      queue.process(async () => Promise.reject(new TypeError("bug")), { concurrency: 1 });
      assert.equal(failureOf(await addAndWatch(queue, "a", 1)).code, "INTERNAL");
    }),

    check(
      "lets other jobs run while one waits for its next attempt",
      async (queue) => {
        queue.process(
          async ({ value }) => {
            if (value === 1) throw new KvaultError("ENGINE_DIED", "Cannot go on");
            return "other";
          },
          { concurrency: 1 },
        );
        await queue.add({ value: 1 }, { key: "dying" });
        assert.deepEqual(await addAndWatch(queue, "b", 2), { type: "completed", result: "other" });
        // The other job still waits.
        assert.equal(await queue.cancel("dying"), true);
      },
      { ...FAST, backoffMs: 60_000 },
    ),

    check("tells every watcher the state it finds, then progress, then the end", async (queue) => {
      const report = gate();
      const finish = gate();
      queue.process(
        async (_, { onProgress }) => {
          await report.passed;
          onProgress(1);
          onProgress(2);
          await finish.passed;
          return "done";
        },
        { concurrency: 1 },
      );
      await queue.add({ value: 1 }, { key: "a" });
      const watchers = [queue.watch("a"), queue.watch("a")].map((watch) => watch[Symbol.asyncIterator]());
      for (const watcher of watchers) {
        const { value } = await watcher.next();
        assert.ok(value?.type === "running" || value?.type === "waiting", `found ${JSON.stringify(value)}`);
      }
      report.pass();
      for (const watcher of watchers) await until(watcher, (event) => event.type === "running" && event.progress === 2);
      finish.pass();
      for (const watcher of watchers) await until(watcher, (event) => event.type === "completed");
      for (const watcher of watchers) assert.equal((await watcher.next()).done, true);
    }),

    check("tells a watcher who comes late how the job ended", async (queue) => {
      queue.process(async ({ value }) => `got ${value}`, { concurrency: 1 });
      assert.deepEqual(await addAndWatch(queue, "a", 1), { type: "completed", result: "got 1" });
      assert.deepEqual(await lastEvent(queue, "a"), { type: "completed", result: "got 1" });
    }),

    check("gives a watcher that falls behind the newest progress, not all of it", async (queue) => {
      const started = gate();
      const reported = gate();
      const finish = gate();
      queue.process(
        async (_, { onProgress }) => {
          await started.passed;
          for (let i = 1; i <= 10_000; i++) onProgress(i);
          reported.pass();
          await finish.passed;
          return "done";
        },
        { concurrency: 1 },
      );
      await queue.add({ value: 1 }, { key: "a" });
      const watcher = queue.watch("a")[Symbol.asyncIterator]();
      await watcher.next();
      started.pass();
      await reported.passed;
      let events = 0;
      await until(watcher, (event) => ++events < 10_000 && event.type === "running" && event.progress === 10_000);
      assert.ok(events < 100, `${events} events were kept for a slow watcher`);
      finish.pass();
    }),

    check("ends a watch of an unknown job at once, and of a signal when it aborts", async (queue) => {
      assert.equal(await lastEvent(queue, "nobody"), undefined);
      await queue.add({ value: 1 }, { key: "a" });
      const controller = new AbortController();
      const watcher = queue.watch("a", { signal: controller.signal })[Symbol.asyncIterator]();
      await watcher.next();
      const next = watcher.next();
      controller.abort();
      await assert.rejects(next, (error) => isKvaultError(error, "CANCELLED"));
    }),

    check("cancels a waiting job: it never runs", async (queue) => {
      const last = (await queue.add({ value: 1 }, { key: "a" })) && lastEvent(queue, "a");
      assert.equal(await queue.cancel("a"), true);
      assert.equal(failureOf(await last).code, "CANCELLED");
      let runs = 0;
      queue.process(async () => `${++runs}`, { concurrency: 1 });
      await addAndWatch(queue, "b", 1);
      assert.equal(runs, 1);
      assert.equal(await queue.cancel("a"), false);
    }),

    check("cancels a running job through its signal and resolves once it is over", async (queue) => {
      const started = gate();
      let returned = false;
      let attempts = 0;
      queue.process(
        async (_, { signal }) => {
          attempts++;
          started.pass();
          await aborted(signal);
          returned = true;
          // A retryable error of a cancelled job is still the end of it.
          throw new KvaultError("ENGINE_DIED", "Cannot go on");
        },
        { concurrency: 1 },
      );
      await queue.add({ value: 1 }, { key: "a" });
      await started.passed;
      const last = lastEvent(queue, "a");
      assert.equal(await queue.cancel("a"), true);
      assert.equal(returned, true);
      assert.equal(failureOf(await last).code, "CANCELLED");
      assert.equal(attempts, 1);
    }),

    check(
      "takes no more jobs than may wait",
      async (queue) => {
        await queue.add({ value: 1 }, { key: "a" });
        await queue.add({ value: 1 }, { key: "b" });
        await assert.rejects(queue.add({ value: 1 }, { key: "c" }), (error) => isKvaultError(error, "NO_CAPACITY"));
        assert.equal((await queue.add({ value: 1 }, { key: "a" })).added, false);
      },
      { ...FAST, maxWaiting: 2 },
    ),

    check("refuses keys no driver could take", async (queue) => {
      for (const key of ["", "has space", "a:b", "UPPER", "x".repeat(129)]) {
        await assert.rejects(queue.add({ value: 1 }, { key }), RangeError);
      }
    }),

    check("close() lets running jobs finish, then refuses new ones", async (queue) => {
      const started = gate();
      const finish = gate();
      queue.process(
        async () => {
          started.pass();
          await finish.passed;
          return "done";
        },
        { concurrency: 1 },
      );
      await queue.add({ value: 1 }, { key: "a" });
      await started.passed;
      const last = lastEvent(queue, "a");
      const closed = queue.close({ drainMs: PATIENCE_MS });
      finish.pass();
      await closed;
      assert.deepEqual(await last, { type: "completed", result: "done" });
      await assert.rejects(queue.add({ value: 1 }, { key: "b" }), (error) => isKvaultError(error, "CLOSED"));
      await queue.close();
    }),

    check("close() aborts with DRAINING what outlasts its time", async (queue) => {
      const started = gate();
      const reasons: unknown[] = [];
      queue.process(
        async (_, { signal }) => {
          started.pass();
          reasons.push(await aborted(signal));
          throw signal.reason;
        },
        { concurrency: 1 },
      );
      await queue.add({ value: 1 }, { key: "a" });
      await started.passed;
      await queue.close({ drainMs: 5 });
      assert.equal(reasons.length, 1);
      assert.ok(isKvaultError(reasons[0], "DRAINING"));
    }),
  ];
}

async function addAndWatch(queue: TestQueue, key: string, value: number): Promise<JobEvent<string, number> | undefined> {
  await queue.add({ value }, { key });
  return await lastEvent(queue, key);
}

async function lastEvent(queue: TestQueue, key: string): Promise<JobEvent<string, number> | undefined> {
  let last: JobEvent<string, number> | undefined;
  for await (const event of queue.watch(key)) last = event;
  return last;
}

async function until(
  watcher: AsyncIterator<JobEvent<string, number>>,
  found: (event: JobEvent<string, number>) => boolean,
): Promise<void> {
  for (;;) {
    const next = await watcher.next();
    assert.notEqual(next.done, true, "the watch ended before what it should have told");
    if (found(next.value as JobEvent<string, number>)) return;
  }
}

function failureOf(event: JobEvent<string, number> | undefined): KvaultError {
  if (event?.type === "failed") return event.error;
  throw new assert.AssertionError({ message: `expected a failure, found ${JSON.stringify(event)}` });
}

/** A promise and its resolver. */
function gate(): { readonly passed: Promise<void>; readonly pass: () => void } {
  let pass = (): void => undefined;
  const passed = new Promise<void>((resolve) => {
    pass = resolve;
  });
  return { passed, pass };
}

function aborted(signal: AbortSignal): Promise<unknown> {
  if (signal.aborted) return Promise.resolve(signal.reason);
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(signal.reason), { once: true }));
}

async function patiently<T>(work: Promise<T>, name: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new assert.AssertionError({ message: `"${name}" was not done in ${PATIENCE_MS} ms` })),
      PATIENCE_MS,
    );
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
