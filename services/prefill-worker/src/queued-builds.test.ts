import { openLeases } from "@kvault/cluster";
import { openKeyRing, openMemoryStore } from "@kvault/kvstore";
import { publishSample } from "@kvault/kvstore/testing";
import { type JobEvent, openQueue } from "@kvault/queue";
import type { JsonValue } from "@kvault/rpc";
import { expect, onTestFinished, test } from "vitest";
import { type SharedBuildQueue, takeBuilds } from "./queued-builds.ts";

type Event = JobEvent<JsonValue, JsonValue>;

/** How a job ends that a worker takes whose request is gone, over a store with the record of one text. */
async function takeWithoutRequest(job: { readonly digest?: string }): Promise<Event | undefined> {
  const store = openMemoryStore();
  const { contextId, digest } = await publishSample(store, "a text");
  const queue: SharedBuildQueue = openQueue("local:", { backoffMs: 1 });
  const leases = openLeases("memory:");
  onTestFinished(async () => {
    await queue.close({ drainMs: 0 });
    await leases.close();
  });
  takeBuilds(queue, {
    engine: { build: () => Promise.reject(new Error("nothing is to be built")) },
    store,
    keys: await openKeyRing(store, undefined),
    leases,
    log: { info: () => undefined, warn: () => undefined, error: () => undefined },
  });
  const request = { key: `v1/builds/${contextId}/b.bin`, sha256: "0".repeat(64), bytes: 1 };
  await queue.add({ contextId, digest, tenant: "", model: "sample", buildId: "b", request, ...job }, { key: "k" });
  let last: Event | undefined;
  for await (const event of queue.watch("k")) last = event;
  return last;
}

test("a build that was committed before its worker died is over, though its request is gone", async () => {
  expect(await takeWithoutRequest({})).toMatchObject({ type: "completed", result: { contextTokens: 10 } });
});

test("a build of something else that lost its request fails by name", async () => {
  expect(await takeWithoutRequest({ digest: "f".repeat(64) })).toMatchObject({
    type: "failed",
    error: { code: "CONTEXT_NOT_FOUND" },
  });
});
