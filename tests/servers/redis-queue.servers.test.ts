import { randomUUID } from "node:crypto";
import { openQueue } from "@kvault/queue";
import { jobQueueConformance } from "@kvault/queue/testing";
import { afterAll, beforeAll, describe, test } from "vitest";
import { startRedis } from "./redis-server.ts";
import type { TestProcess } from "./test-process.ts";

let redis: TestProcess;

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());

const urlOf = ({ port }: TestProcess, more = ""): string =>
  `redis://127.0.0.1:${port}/0?queue=q-${randomUUID()}&lockMs=1000&stalledMs=300${more}`;

describe("a Redis queue", () => {
  test.each(jobQueueConformance(async (options) => openQueue(urlOf(redis), options)))("$name", ({ run }) => run());
});
