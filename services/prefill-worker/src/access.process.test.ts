import { Workers } from "@kvault/rpc";
import { spawnToyEngine } from "@kvault/runtime/testing";
import { openWorkerAccess, type WorkerAccess } from "@kvault/worker/testing";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startPrefillWorker } from "./start-prefill-worker.ts";

let access: WorkerAccess;
beforeAll(async () => {
  access = await openWorkerAccess((options) => startPrefillWorker({ ...options, spawn: spawnToyEngine }));
});
afterAll(() => access.close());

test.each(Workers.methods.map(({ localName }) => localName))("%s takes tokens of role service alone", async (localName) => {
  const { tenantToken, serviceToken } = access;
  expect(await access.codeOf(localName, undefined)).toBe("UNAUTHENTICATED");
  expect(await access.codeOf(localName, `${serviceToken.slice(0, -4)}AAAA`)).toBe("UNAUTHENTICATED");
  expect(await access.codeOf(localName, tenantToken)).toBe("PERMISSION_DENIED");
  expect(["UNAUTHENTICATED", "PERMISSION_DENIED"]).not.toContain(await access.codeOf(localName, serviceToken));
});
