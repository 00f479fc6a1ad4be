import { randomUUID } from "node:crypto";
import { openStore } from "@kvault/kvstore";
import { blobStoreConformance } from "@kvault/kvstore/testing";
import { afterAll, beforeAll } from "vitest";
import { s3Url, startS3 } from "./s3-server.ts";
import type { TestProcess } from "./test-process.ts";

let s3: TestProcess;
let prefix = "";

beforeAll(async () => {
  s3 = await startS3();
});
afterAll(() => s3.remove());

blobStoreConformance("s3", {
  open: async () => {
    prefix = `t-${randomUUID()}`;
    return openStore(s3Url(s3.port, prefix));
  },
  openAgain: () => openStore(s3Url(s3.port, prefix)),
});
