import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  CacheInfo_Tier,
  type Channel,
  type Client,
  createClient,
  type ExecuteRequestSchema,
  type ExecuteResponse,
  FinishReason,
  type MessageInitShape,
  openChannel,
  Workers,
} from "@kvault/rpc";
import { openEngine } from "@kvault/runtime";
import { spawnToyEngine, toyBuild } from "@kvault/runtime/testing";
import type { RunningWorker } from "@kvault/worker";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type DecodeWorkerOptions, startDecodeWorker } from "./start-decode-worker.ts";

const TEXT = "The vault's combination is 7193; nobody may write it down. ".repeat(12);
const SILENT = { info: () => undefined, warn: () => undefined, error: () => undefined };
const BUILD = toyBuild(TEXT, "kvzip");

let directory: string;
let worker: RunningWorker | undefined;
let channel: Channel | undefined;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "kvault-decode-"));
  const engine = await openEngine(engineOptions());
  await engine.build(BUILD);
  await engine.close();
});

afterEach(async () => {
  channel?.close();
  await worker?.close({ drainMs: 0 });
});

afterAll(() => rm(directory, { recursive: true, force: true }));

function engineOptions() {
  return {
    storeUrl: `file:${directory}`,
    cacheDir: directory,
    offline: true,
    numThreads: 1,
    residentBytes: 64 * 1024 * 1024,
    activations: "int8",
    spawn: spawnToyEngine,
  } as const;
}

async function start(options: Partial<DecodeWorkerOptions> = {}): Promise<Client<typeof Workers>> {
  worker = await startDecodeWorker({ ...engineOptions(), address: "127.0.0.1:0", log: SILENT, ...options });
  channel = openChannel(worker.address);
  return createClient(Workers, channel);
}

type Request = Extract<MessageInitShape<typeof ExecuteRequestSchema>, { readonly $typeName?: never }>;

function ask(question: string, changes: Partial<Request> = {}): Request {
  return {
    source: { case: "contextId", value: BUILD.contextId },
    digest: BUILD.digest,
    model: "toy",
    question,
    limits: { maxTokens: 100 },
    ...changes,
  };
}

async function answerOf(responses: AsyncIterable<ExecuteResponse>) {
  let text = "";
  for await (const { event } of responses) {
    if (event.case === "delta") text += event.value.text;
    if (event.case === "answer") return { text, answer: event.value };
  }
  throw new Error("Cannot find the answer: the stream ended without one");
}

describe("a decode worker", () => {
  test("streams an answer and says where the context came from", async () => {
    const client = await start();
    const first = await answerOf(client.execute(ask("which?")));
    expect(first.text).toBe(first.answer.text);
    expect(first.answer).toMatchObject({
      finishReason: FinishReason.END,
      usage: { contextTokens: TEXT.length },
      cache: { tier: CacheInfo_Tier.STORE, reason: "FIRST_USE" },
    });
    const second = await answerOf(client.execute(ask("which?")));
    expect(second.text).toBe(first.text);
    expect(second.answer.cache).toMatchObject({ tier: CacheInfo_Tier.MEMORY, reason: "RESIDENT", bytesLoaded: 0n });
  });

  test("passes sampling and limits on, and reports the seed", async () => {
    const client = await start();
    const sampled = ask("which of them?", { sampling: { temperature: 3, topP: 0.95, topK: 50, seed: 9_007_199_254_740_991n } });
    const first = await answerOf(client.execute(sampled));
    expect(first.answer.seed).toBe(9_007_199_254_740_991n);
    expect((await answerOf(client.execute(sampled))).text).toBe(first.text);
    expect((await answerOf(client.execute(ask("which of them?")))).text).not.toBe(first.text);
    const cut = await answerOf(client.execute(ask("which?", { limits: { maxTokens: 3, stop: ["zzz"] } })));
    expect(cut.answer).toMatchObject({ finishReason: FinishReason.MAX_TOKENS, usage: { newTokens: 3 } });
  });

  test("answers on a text sent along", async () => {
    const client = await start();
    const inline = { model: "toy", content: { content: { case: "text", value: TEXT } as const } };
    const { answer } = await answerOf(client.execute(ask("which?", { source: { case: "inline", value: inline } })));
    expect(answer.cache).toMatchObject({ tier: CacheInfo_Tier.NONE, reason: "INLINE" });
  });

  test("loads ahead, tells what is resident, and lets go", async () => {
    const client = await start();
    const { contextId, digest, model } = BUILD;
    expect((await client.load({ contextId, digest, model })).cache).toMatchObject({ tier: CacheInfo_Tier.STORE });
    expect((await client.load({ contextId, digest, model })).cache).toMatchObject({ tier: CacheInfo_Tier.MEMORY });
    const status = await client.status({});
    expect(status.residentContextIds).toEqual([contextId]);
    expect(status.residentBytes).toBeGreaterThan(0n);
    await client.evict({ contextId });
    await client.evict({ contextId });
    expect((await client.status({})).residentContextIds).toEqual([]);
  });

  test("refuses what it must by code and field", async () => {
    const client = await start();
    const cases: [Request, object][] = [
      [ask(" "), { code: "INVALID_ARGUMENT", details: { field: "question" } }],
      [ask("?", { source: { case: undefined } }), { code: "INVALID_ARGUMENT", details: { field: "source" } }],
      [ask("?", { digest: "0".repeat(64) }), { code: "INCOMPATIBLE_MODEL", details: { field: "digest" } }],
      [ask("?", { model: "nobody" }), { code: "MODEL_NOT_FOUND" }],
      [ask("?", { source: { case: "contextId", value: `c${"0".repeat(32)}` } }), { code: "CONTEXT_NOT_FOUND" }],
    ];
    for (const [request, error] of cases) await expect(answerOf(client.execute(request))).rejects.toMatchObject(error);
  });

  test("tells callers over its limit that there is no room", async () => {
    const client = await start({ maxQueries: 1 });
    const running = answerOf(client.execute(ask("a question that takes its time", { model: "toy-slow" })));
    await expect.poll(async () => (await client.status({})).runningQueries, { timeout: 10_000 }).toBe(1);
    await expect(answerOf(client.execute(ask("?")))).rejects.toMatchObject({ code: "NO_CAPACITY", retryable: true });
    expect((await running).answer.finishReason).toBe(FinishReason.END);
  });

  test("ends a query at its deadline and a query whose caller leaves", async () => {
    const client = await start();
    const late = answerOf(
      client.execute(ask("a question that takes its time", { model: "toy-slow" }), { deadlineMs: Date.now() + 150 }),
    );
    await expect(late).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
    for await (const { event } of client.execute(ask("a question left early", { model: "toy-slow" }))) {
      if (event.case === "delta") break;
    }
    await expect.poll(async () => (await client.status({})).runningQueries, { timeout: 10_000 }).toBe(0);
  });

  test("survives its engine: what was streamed stands, the next query is answered", async () => {
    const client = await start();
    const whole = await answerOf(client.execute(ask("which?")));
    await client.evict({ contextId: BUILD.contextId });
    let streamed = "";
    const dying = (async () => {
      for await (const { event } of client.execute(ask("which?", { model: "toy-dies-in-answer" }))) {
        if (event.case === "delta") streamed += event.value.text;
      }
    })();
    await expect(dying).rejects.toMatchObject({ code: "ENGINE_DIED", retryable: true });
    expect(whole.text.startsWith(streamed)).toBe(true);
    const after = await answerOf(client.execute(ask("which?")));
    expect(after.text).toBe(whole.text);
    expect((await client.status({})).engineRestarts).toBe(1);
  });
});
