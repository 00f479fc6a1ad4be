import { describe, expect, test } from "vitest";
import { backoffAfter, type JobEvent } from "../job-queue.ts";
import { openQueue } from "../open-queue.ts";
import { jobQueueConformance, type TestJob } from "../testing/index.ts";
import { LocalQueue } from "./local.ts";

describe("LocalQueue", () => {
  test.each(jobQueueConformance(async (options) => new LocalQueue(options)))("$name", ({ run }) => run());

  test("tells a handler how long its job waited", async () => {
    const queue = new LocalQueue<number, number, never>();
    await queue.add(1, { key: "a" });
    await new Promise((resolve) => setTimeout(resolve, 5));
    queue.process(async (_, { waitedMs }) => waitedMs, { concurrency: 1 });
    const events: JobEvent<number, never>[] = [];
    for await (const event of queue.watch("a")) events.push(event);
    expect(events.at(-1)).toMatchObject({ type: "completed", result: expect.toSatisfy((ms: number) => ms >= 4) });
    await queue.close();
  });

  test("process() twice and impossible concurrency are programmer mistakes", () => {
    const queue = new LocalQueue<number, number, never>();
    expect(() => queue.process(async () => 1, { concurrency: 0 })).toThrow(RangeError);
    queue.process(async () => 1, { concurrency: 1 });
    expect(() => queue.process(async () => 1, { concurrency: 1 })).toThrow(TypeError);
  });
});

describe("jobQueueConformance()", () => {
  /** Each breaks one promise of the contract. */
  const broken: Record<string, new (options: object) => LocalQueue<TestJob, string, number>> = {
    "forgets deduplication": class extends LocalQueue<TestJob, string, number> {
      #n = 0;
      override add(job: TestJob, options: { key: string }) {
        return super.add(job, { key: `${options.key}-${this.#n++}` });
      }
    },
    "never tries again": class extends LocalQueue<TestJob, string, number> {
      constructor(options: object) {
        super({ ...options, maxAttempts: 1 });
      }
    },
    "runs everything at once": class extends LocalQueue<TestJob, string, number> {
      override process(handler: Parameters<LocalQueue<TestJob, string, number>["process"]>[0]) {
        super.process(handler, { concurrency: 1000 });
      }
    },
    "does not cancel": class extends LocalQueue<TestJob, string, number> {
      override cancel() {
        return Promise.resolve(true);
      }
    },
    "takes jobs after close": class extends LocalQueue<TestJob, string, number> {
      override close() {
        return Promise.resolve();
      }
    },
    "keeps no waiting limit": class extends LocalQueue<TestJob, string, number> {
      constructor(options: object) {
        super({ ...options, maxWaiting: 1_000_000 });
      }
    },
  };

  test.each(Object.entries(broken))("fails on a driver that %s", async (_, Broken) => {
    const checks = jobQueueConformance(async (options) => new Broken(options));
    // Stop at the first failure: some broken drivers leave a check waiting for its patience.
    const failed = await Promise.any(
      checks.map(({ run }) =>
        run().then(
          () => Promise.reject(new Error("passed")),
          () => true,
        ),
      ),
    ).catch(() => false);
    expect(failed).toBe(true);
  });
});

describe("backoffAfter()", () => {
  test("doubles, half of it random, up to 30 s", () => {
    const low = { backoffMs: 500, random: () => 0 };
    const high = { backoffMs: 500, random: () => 1 };
    expect([1, 2, 3].map((attempt) => backoffAfter(attempt, low))).toEqual([250, 500, 1000]);
    expect([1, 2, 3].map((attempt) => backoffAfter(attempt, high))).toEqual([500, 1000, 2000]);
    expect(backoffAfter(30, high)).toBe(30_000);
  });
});

describe("openQueue()", () => {
  test("opens local: and refuses other schemes by name", async () => {
    await openQueue("local:").close();
    expect(() => openQueue("kafka://secret@host")).toThrow('Cannot open queue "kafka:": known are local:, redis:, rediss:');
  });
});
