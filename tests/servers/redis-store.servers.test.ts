import { randomUUID } from "node:crypto";
import { isKvaultError } from "@kvault/core";
import { type BlobStore, openStore } from "@kvault/kvstore";
import { blobStoreConformance } from "@kvault/kvstore/testing";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { redisCommand, startRedis } from "./redis-server.ts";
import type { TestProcess } from "./test-process.ts";

let redis: TestProcess;
let prefix = "";

beforeAll(async () => {
  redis = await startRedis();
});
afterAll(() => redis.remove());

const url = (more = ""): string => `redis://127.0.0.1:${redis.port}/0?prefix=${prefix}${more}`;

blobStoreConformance("redis", {
  open: async () => {
    prefix = `t-${randomUUID()}`;
    return openStore(url());
  },
  openAgain: () => openStore(url()),
});
