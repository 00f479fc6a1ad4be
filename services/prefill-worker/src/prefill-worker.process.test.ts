import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openFilesystemStore, readManifest } from "@kvault/kvstore";
import {
  type BuildResponse,
  type Channel,
  type Client,
  createClient,
  INTERNAL_MESSAGE_BYTES,
  openChannel,
  Progress_Phase,
  Workers,
} from "@kvault/rpc";
import { spawnToyEngine, toyBuild } from "@kvault/runtime/testing";
import type { RunningWorker } from "@kvault/worker";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type PrefillWorkerOptions, startPrefillWorker } from "./start-prefill-worker.ts";

const TEXT = "The vault's combination is 7193; nobody may write it down. ".repeat(12);
const SILENT = { info: () => undefined, warn: () => undefined, error: () => undefined };

let directory: string;
let worker: RunningWorker | undefined;
let channel: Channel | undefined;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kvault-prefill-"));
});

afterEach(async () => {
  channel?.close();
  await worker?.close({ drainMs: 0 });
  await rm(directory, { recursive: true, force: true });
});

async function start(options: Partial<PrefillWorkerOptions> = {}): Promise<Client<typeof Workers>> {
  worker = await startPrefillWorker({
    address: "127.0.0.1:0",
    storeUrl: `file:${directory}`,
    cacheDir: directory,
    offline: true,
    numThreads: 1,
    activations: "int8",
    log: SILENT,
    spawn: spawnToyEngine,
    ...options,
  });
  channel = openChannel(worker.address, { maxMessageBytes: INTERNAL_MESSAGE_BYTES });
  return createClient(Workers, channel);
}

function requestOf(text: string, spec: string, model: string) {
  const { content: _, createTimeMs, expireTimeMs, ...rest } = toyBuild(text, spec, model);
  return {
    ...rest,
    content: { content: { case: "text" as const, value: text } },
    createTimeMs: BigInt(createTimeMs),
    expireTimeMs: BigInt(expireTimeMs),
  };
}

async function eventsOf(responses: AsyncIterable<BuildResponse>): Promise<BuildResponse["event"][]> {
  const events: BuildResponse["event"][] = [];
  for await (const { event } of responses) events.push(event);
  return events;
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  const deadlineMs = Date.now() + 15_000;
  while (!(await condition())) {
    if (Date.now() > deadlineMs) throw new Error("Cannot wait longer: the condition did not come true in 15 s");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe("a prefill worker", () => {
  test("streams progress and ends with the report of the committed record", async () => {
    const client = await start();
    const request = requestOf(TEXT, "kvzip", "toy-slow");
    const events = await eventsOf(client.build(request));
    const phases = events.flatMap((event) => (event.case === "progress" ? [event.value.phase] : []));
    expect(phases).toContain(Progress_Phase.PREFILL);
    expect(phases).toContain(Progress_Phase.SCORE);
    const last = events.at(-1);
    const store = await openFilesystemStore(directory);
    const manifest = await readManifest(store, request.contextId);
    await store.close();
    expect(last?.case).toBe("report");
    expect(last?.value).toMatchObject({
      spec: manifest.report.spec,
      contextTokens: TEXT.length,
      keptPairs: BigInt(manifest.report.keptPairs),
      storedBytes: BigInt(manifest.report.storedBytes),
      layers: manifest.layers.map(({ headLengths }) => ({ keptPerHead: headLengths })),
    });
  });

  test("refuses bad requests by field", async () => {
    const client = await start();
    const noContent = client.build({ ...requestOf(TEXT, "none", "toy"), content: { content: { case: undefined } } });
    await expect(eventsOf(noContent)).rejects.toMatchObject({ code: "INVALID_ARGUMENT", details: { field: "content" } });
    const unknownModel = client.build(requestOf(TEXT, "none", "nobody"));
    await expect(eventsOf(unknownModel)).rejects.toMatchObject({ code: "MODEL_NOT_FOUND" });
  });

  test("tells callers over its limit that there is no room", async () => {
    const client = await start({ maxWaitingBuilds: 0 });
    const running = eventsOf(client.build(requestOf(TEXT.repeat(4), "none", "toy-slow")));
    await until(async () => (await client.status({})).runningBuilds === 1);
    const refused = eventsOf(client.build(requestOf(TEXT, "none", "toy")));
    await expect(refused).rejects.toMatchObject({ code: "NO_CAPACITY", retryable: true });
    expect((await running).at(-1)?.case).toBe("report");
  });

  test("stops a build whose caller leaves, and takes the next", async () => {
    const client = await start({ maxWaitingBuilds: 0 });
    for await (const { event } of client.build(requestOf(TEXT.repeat(4), "none", "toy-slow"))) {
      if (event.case === "progress" && event.value.phase === Progress_Phase.PREFILL) break;
    }
    await until(async () => (await client.status({})).runningBuilds === 0);
    expect((await eventsOf(client.build(requestOf(TEXT, "none", "toy")))).at(-1)?.case).toBe("report");
    expect((await client.status({})).engineRestarts).toBe(0);
  });

  test("surfaces a dead engine as retryable, stays up, and succeeds on the next try", async () => {
    const client = await start();
    const { incarnation } = await client.status({});
    const dying = eventsOf(client.build(requestOf(TEXT, "kvzip", "toy-dies-in-prefill")));
    await expect(dying).rejects.toMatchObject({ code: "ENGINE_DIED", retryable: true });
    const again = await eventsOf(client.build({ ...requestOf(TEXT, "kvzip", "toy-dies-in-prefill"), model: "toy" }));
    expect(again.at(-1)?.case).toBe("report");
    expect(await client.status({})).toMatchObject({ incarnation, engineRestarts: 1 });
  });

  test("lets a running build finish when it closes", async () => {
    const client = await start();
    const running = eventsOf(client.build(requestOf(TEXT.repeat(2), "none", "toy-slow")));
    await until(async () => (await client.status({})).runningBuilds === 1);
    await worker?.close({ drainMs: 20_000 });
    expect((await running).at(-1)?.case).toBe("report");
  });

  test("does not start on an address that is taken, and leaves no engine behind", async () => {
    await start();
    const second = startPrefillWorker({
      address: worker?.address as string,
      storeUrl: `file:${directory}`,
      cacheDir: directory,
      offline: true,
      numThreads: 1,
      activations: "int8",
      log: SILENT,
      spawn: spawnToyEngine,
    });
    await expect(second).rejects.toMatchObject({ code: "INVALID_ARGUMENT", details: { field: "address" } });
  });
});
