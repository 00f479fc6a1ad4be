import { type ChildProcess, fork } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { KvaultError } from "@kvault/core";
import { type JobEvent, type JobQueue, openQueue, type QueueOptions } from "@kvault/queue";
import { jobQueueConformance } from "@kvault/queue/testing";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { WorkerMessage } from "./queue-worker.ts";
import { redisCommand, startRedis } from "./redis-server.ts";
import type { TestProcess } from "./test-process.ts";

type TestQueue = JobQueue<{ value: number; text?: string }, string, number>;
type Event = JobEvent<string, number>;

const LOCK_MS = 1_500;
const STALLED_MS = 300;

let redis: TestProcess;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());

const freshUrl = ({ port }: TestProcess): string => `redis://127.0.0.1:${port}/0?queue=q-${randomUUID()}`;
/** Silent workers are noticed within a second or two. */
const urlOf = (server: TestProcess): string => `${freshUrl(server)}&lockMs=${LOCK_MS}&stalledMs=${STALLED_MS}`;

describe("a Redis queue", () => {
  test.each(jobQueueConformance(async (options) => openQueue(freshUrl(redis), options)))("$name", ({ run }) => run());
});

/** Closed after each test. */
const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close();
});

function open(url: string, options: QueueOptions = { backoffMs: 10 }): TestQueue {
  const queue: TestQueue = openQueue(url, options);
  opened.push({ close: () => queue.close({ drainMs: 0 }) });
  return queue;
}

/** A worker process and what it says. */
async function startWorker(
  url: string,
): Promise<{ child: ChildProcess; next(type: WorkerMessage["type"]): Promise<WorkerMessage> }> {
  const child = fork(fileURLToPath(new URL("queue-worker.ts", import.meta.url)), [url], {
    execArgv: ["--conditions=kvault-source", "--import", "tsx"],
  });
  opened.push({
    close: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  });
  const said: WorkerMessage[] = [];
  let wake = (): void => undefined;
  child.on("message", (message) => {
    said.push(message as WorkerMessage);
    wake();
  });
  const next = async (type: WorkerMessage["type"]): Promise<WorkerMessage> => {
    for (;;) {
      const i = said.findIndex((message) => message.type === type);
      if (i !== -1) return said.splice(i, 1)[0] as WorkerMessage;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  };
  await next("ready");
  return { child, next };
}

async function lastEvent(queue: TestQueue, key: string): Promise<Event | undefined> {
  let last: Event | undefined;
  for await (const event of queue.watch(key)) last = event;
  return last;
}

describe("a Redis queue over processes", () => {
  let url: string;
  let queue: TestQueue;
  beforeEach(() => {
    url = urlOf(redis);
    queue = open(url);
  });

  test("gives the job of a worker killed with SIGKILL to another", async () => {
    const worker = await startWorker(url);
    await queue.add({ value: 0 }, { key: "a" });
    expect((await worker.next("started")).attempt).toBe(1);
    worker.child.kill("SIGKILL");
    const attempts: number[] = [];
    open(url).process(
      async (_, { attempt }) => {
        attempts.push(attempt);
        return "taken over";
      },
      { concurrency: 1 },
    );
    expect(await lastEvent(queue, "a")).toEqual({ type: "completed", result: "taken over" });
    expect(attempts).toEqual([2]);
  });

  test("fails a job that took down every worker that ran it, as ENGINE_DIED", async () => {
    await queue.add({ value: 0 }, { key: "deadly" });
    const ended = lastEvent(queue, "deadly");
    for (let deaths = 0; deaths < 3; deaths++) {
      const worker = await startWorker(url);
      await worker.next("started");
      worker.child.kill("SIGKILL");
    }
    open(url).process(async () => "survived", { concurrency: 1 });
    expect(await ended).toMatchObject({ type: "failed", error: { code: "ENGINE_DIED" } });
  });

  test("aborts the run of a worker that stood still for so long that another has its job", async () => {
    const worker = await startWorker(url);
    await queue.add({ value: 0 }, { key: "a" });
    await worker.next("started");
    worker.child.kill("SIGSTOP");
    open(url).process(async () => "taken over", { concurrency: 1 });
    expect(await lastEvent(queue, "a")).toEqual({ type: "completed", result: "taken over" });
    worker.child.kill("SIGCONT");
    expect((await worker.next("aborted")).code).toBe("ENGINE_DIED");
    expect(await lastEvent(queue, "a")).toEqual({ type: "completed", result: "taken over" });
  });

  test("gives the job of a worker that shuts down back at once, as the next attempt", async () => {
    const worker = await startWorker(url);
    await queue.add({ value: 0 }, { key: "a" });
    await worker.next("started");
    worker.child.kill("SIGTERM");
    expect((await worker.next("aborted")).code).toBe("DRAINING");
    await worker.next("closed");
    const startedMs = Date.now();
    const attempts: number[] = [];
    open(url).process(
      async (_, { attempt }) => {
        attempts.push(attempt);
        return "done";
      },
      { concurrency: 1 },
    );
    expect(await lastEvent(queue, "a")).toEqual({ type: "completed", result: "done" });
    expect(attempts).toEqual([2]);
    expect(Date.now() - startedMs).toBeLessThan(LOCK_MS);
  });

  test("cancels a job that runs in another process", async () => {
    const worker = await startWorker(url);
    await queue.add({ value: 0 }, { key: "a" });
    await worker.next("started");
    const ended = lastEvent(queue, "a");
    expect(await queue.cancel("a")).toBe(true);
    expect((await worker.next("aborted")).code).toBe("CANCELLED");
    expect(await ended).toMatchObject({ type: "failed", error: { code: "CANCELLED" } });
    expect(await queue.cancel("a")).toBe(false);
  });

  test("cancels a job whose worker died, before another runs it", async () => {
    const worker = await startWorker(url);
    await queue.add({ value: 0 }, { key: "a" });
    await worker.next("started");
    worker.child.kill("SIGKILL");
    const cancelled = queue.cancel("a");
    let runs = 0;
    open(url).process(async () => `${++runs}`, { concurrency: 1 });
    expect(await cancelled).toBe(true);
    expect(await lastEvent(queue, "a")).toMatchObject({ type: "failed", error: { code: "CANCELLED" } });
    expect(runs).toBe(0);
  });

  test("joins adds of one key from many producers: one run", async () => {
    let runs = 0;
    open(url).process(
      async () => {
        runs++;
        await new Promise((resolve) => setTimeout(resolve, 100));
        return "once";
      },
      { concurrency: 8 },
    );
    const producers = Array.from({ length: 5 }, () => open(url));
    const added = await Promise.all(
      Array.from({ length: 100 }, (_, i) => (producers[i % 5] as TestQueue).add({ value: 1 }, { key: "same" })),
    );
    const ends = await Promise.all(producers.map((producer) => lastEvent(producer, "same")));
    expect([added.filter((one) => one.added).length, runs]).toEqual([1, 1]);
    expect(ends).toEqual(Array.from({ length: 5 }, () => ({ type: "completed", result: "once" })));
  });

  test("tells errors of another process typed, and how a job ended to those who come later", async () => {
    const worker = open(url);
    worker.process(
      async () => {
        throw new KvaultError("TOKEN_LIMIT", "Cannot build: 9 tokens, limit 8", { details: { tokens: 9 } });
      },
      { concurrency: 1 },
    );
    await queue.add({ value: 1 }, { key: "a" });
    const first = await lastEvent(queue, "a");
    expect(first).toMatchObject({ type: "failed", error: { code: "TOKEN_LIMIT", details: { tokens: 9 }, retryable: false } });
    expect(await lastEvent(open(url), "a")).toEqual(first);
  });

  test("refuses a job too large for references only", async () => {
    const adding = queue.add({ value: 1, text: "x".repeat(70_000) }, { key: "a" });
    await expect(adding).rejects.toMatchObject({ code: "INVALID_ARGUMENT", details: { field: "job" } });
  });

  test("keeps nothing in Redis that would stay there for ever", async () => {
    open(url, { keepFinished: 5 }).process(async () => "done", { concurrency: 4 });
    const producer = open(url, { keepFinished: 5 });
    for (let i = 0; i < 30; i++) {
      await producer.add({ value: 1 }, { key: `job-${i}` });
      await lastEvent(producer, `job-${i}`);
    }
    const name = /queue=([^&]+)/.exec(url)?.[1];
    const found = (await redisCommand(redis.port, `KEYS kvault:${name}:*`)).split("\r\n");
    const jobs = found.filter((key) => /^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(key.split(":")[2] ?? ""));
    expect(jobs).toHaveLength(5);
    for (const [key] of (await redisCommand(redis.port, `KEYS kvault:last:${name}:*`)).matchAll(/kvault:[^\r]+/g)) {
      expect(Number((await redisCommand(redis.port, `TTL ${key}`)).slice(1))).toBeGreaterThan(0);
    }
  });
});

describe("a Redis queue in trouble", () => {
  let own: TestProcess;
  beforeEach(async () => {
    own = await startRedis();
    opened.push({ close: () => own.remove() });
  });

  /** Adds 30 jobs while `trouble` happens; every one must run and tell its end. */
  async function loseNothing(trouble: () => Promise<void>): Promise<void> {
    const url = urlOf(own);
    const ran = new Map<number, number>();
    for (let i = 0; i < 2; i++) {
      open(url).process(
        async ({ value }) => {
          ran.set(value, (ran.get(value) ?? 0) + 1);
          await new Promise((resolve) => setTimeout(resolve, 50));
          return `${value}`;
        },
        { concurrency: 2 },
      );
    }
    const producer = open(url);
    await producer.ready();
    const troubled = trouble();
    const ends = Array.from({ length: 30 }, async (_, value) => {
      await new Promise((resolve) => setTimeout(resolve, value * 40));
      // As a client would: what could not be added is added again.
      for (;;) {
        const added = await producer.add({ value }, { key: `job-${value}` }).catch((error: KvaultError) => error);
        if (!(added instanceof Error)) break;
        expect([added.code, added.retryable]).toEqual(["UNREACHABLE", true]);
      }
      for (;;) {
        const last = await lastEvent(producer, `job-${value}`).catch((error: KvaultError) => error);
        if (!(last instanceof Error)) return last;
        expect(last.code).toBe("UNREACHABLE");
      }
    });
    await troubled;
    expect(await Promise.all(ends)).toEqual(ends.map((_, value) => ({ type: "completed", result: `${value}` })));
    expect(ran.size).toBe(30);
  }

  test("loses nothing when Redis stands still for 5 s", async () => {
    await loseNothing(async () => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      await own.pause();
      await new Promise((resolve) => setTimeout(resolve, 5_000));
      own.resume();
    });
  });

  test("loses nothing when Redis is killed and comes back with its append-only file", async () => {
    await redisCommand(own.port, "CONFIG SET appendfsync always");
    await loseNothing(async () => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      await own.kill9();
      await new Promise((resolve) => setTimeout(resolve, 500));
      await own.start();
    });
  });

  test("answers UNREACHABLE within its deadline while Redis is gone", async () => {
    const queue = open(`${urlOf(own)}&timeoutMs=300`);
    await queue.ready();
    await own.kill9();
    const startedMs = Date.now();
    await expect(queue.add({ value: 1 }, { key: "a" })).rejects.toMatchObject({ code: "UNREACHABLE", retryable: true });
    expect(Date.now() - startedMs).toBeLessThan(2_000);
    await expect(open(`${urlOf(own)}&timeoutMs=300`).ready()).rejects.toMatchObject({ code: "UNREACHABLE" });
  });

  test("closes in time while Redis is gone", async () => {
    const queue = openQueue<{ value: number }, string, number>(urlOf(own));
    queue.process(async () => "", { concurrency: 1 });
    await queue.ready();
    await queue.add({ value: 1 }, { key: "a" });
    await own.kill9();
    const startedMs = Date.now();
    await queue.close({ drainMs: 500 });
    expect(Date.now() - startedMs).toBeLessThan(6_000);
  });

  test("refuses a Redis that evicts, to everybody who asks", async () => {
    await redisCommand(own.port, "CONFIG SET maxmemory-policy allkeys-lru");
    const queue = open(urlOf(own));
    queue.process(async () => "", { concurrency: 1 });
    await expect(queue.ready()).rejects.toThrow('maxmemory-policy is "allkeys-lru"');
    await expect(queue.add({ value: 1 }, { key: "a" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

test.each([
  ["redis://127.0.0.1/builds", "is not a database number"],
  ["redis://127.0.0.1?queue=a:b", 'setting "queue"'],
  ["redis://127.0.0.1?lockMs=1", 'setting "lockMs" is "1"'],
  ["redis://127.0.0.1?lock=1", 'unknown setting "lock"'],
])("openQueue(%s) is refused: %s", (url, why) => {
  expect(() => openQueue(url)).toThrow(why);
});
