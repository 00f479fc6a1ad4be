import { randomUUID } from "node:crypto";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { failureOf } from "@kvault/core/testing";
import { startDecodeWorker } from "@kvault/decode-worker";
import { type GatewayOptions, type RunningGateway, startGateway } from "@kvault/gateway";
import { openCatalogue } from "@kvault/gateway/testing";
import { startPrefillWorker } from "@kvault/prefill-worker";
import {
  type Client,
  Cluster,
  Context_State,
  Contexts,
  create,
  createClient,
  fromRpcStatus,
  Inference,
  openChannel,
  ProgressSchema,
} from "@kvault/rpc";
import { spawnToyEngine, TOY_CONFIG, TOY_IDENTITY } from "@kvault/runtime/testing";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startRedis } from "./redis-server.ts";
import type { TestProcess } from "./test-process.ts";

const TEXT = "The vault's combination is 7193; nobody may write it down. ".repeat(12);
/** Long enough to be met in the middle: every chunk of the slow toy takes 30 ms. */
const LONG_TEXT = TEXT.repeat(5);
const PATIENCE_MS = 30_000;

let redis: TestProcess;
let folder: string;
let name: string;
const closing: (() => unknown)[] = [];
/** What workers and gateways logged, messages only. */
let logged: string[] = [];

const log = { info: (_: object, message: string) => void logged.push(message), warn: () => undefined, error: () => undefined };

beforeAll(async () => {
  redis = await startRedis(["maxmemory-policy noeviction"]);
});
afterAll(() => redis.remove());

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "kvault-cluster-"));
  name = `t${randomUUID()}`;
  logged = [];
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  await rm(folder, { recursive: true, force: true });
});

const queueUrl = () => `redis://127.0.0.1:${redis.port}/0?queue=${name}&lockMs=1500&stalledMs=300`;
const sharedUrl = () => `redis://127.0.0.1:${redis.port}/1?prefix=${name}`;

const entry = (model: string) => ({
  name: model,
  fileName: model,
  sha256: TOY_IDENTITY.weightsSha256,
  bytes: 1,
  licence: "none",
  config: TOY_CONFIG,
  identity: TOY_IDENTITY,
  sources: [],
});
const models: Exclude<GatewayOptions["models"], string> = {
  list: () => [entry("toy"), entry("toy-slow")],
  describe: entry,
  isPresent: async () => true,
};

interface Api {
  readonly gateway: RunningGateway;
  readonly contexts: Client<typeof Contexts>;
  readonly inference: Client<typeof Inference>;
  readonly cluster: Client<typeof Cluster>;
}

async function gateway(): Promise<Api> {
  const running = await startGateway({
    address: "127.0.0.1:0",
    store: `file:${folder}/store`,
    models,
    queueUrl: queueUrl(),
    catalogueUrl: sharedUrl(),
    registryUrl: sharedUrl(),
    prefillWorkers: [],
    decodeWorkers: [],
    log,
    sweepIntervalMs: 500,
  });
  const channel = openChannel(running.address);
  closing.push(() => running.close({ drainMs: 0 }));
  closing.push(() => channel.close());
  return {
    gateway: running,
    contexts: createClient(Contexts, channel),
    inference: createClient(Inference, channel),
    cluster: createClient(Cluster, channel),
  };
}

const engine = () => ({
  address: "127.0.0.1:0",
  storeUrl: `file:${folder}/store`,
  cacheDir: folder,
  offline: true,
  numThreads: 1,
  activations: "int8" as const,
  registryUrl: sharedUrl(),
  log,
  spawn: spawnToyEngine,
});

async function prefillWorker() {
  const worker = await startPrefillWorker({ ...engine(), queueUrl: queueUrl() });
  closing.push(() => worker.close({ drainMs: 0 }));
  return worker;
}

async function decodeWorker() {
  const worker = await startDecodeWorker({ ...engine(), residentBytes: 2 ** 20 });
  closing.push(() => worker.close({ drainMs: 0 }));
  return worker;
}

const requestFor = (text: string, model = "toy") => ({
  model,
  content: { content: { case: "text" as const, value: text } },
  compression: { spec: "none" },
});

/** Creates a context without waiting; its name. */
async function submit({ contexts }: Api, text: string, model = "toy"): Promise<string> {
  const operation = await contexts.createContext(requestFor(text, model));
  return operation.name.replace("operations/", "contexts/");
}

/** The context once it is in `state`, as `api` sees it. */
async function inState({ contexts }: Api, context: string, state: Context_State) {
  return expect
    .poll(() => contexts.getContext({ name: context }).then((found) => found.state), { timeout: PATIENCE_MS, interval: 20 })
    .toBe(state);
}

const prefilling = (api: Api, context: string) =>
  expect
    .poll(() => api.contexts.getContext({ name: context }).then(({ progress }) => progress?.done ?? 0), {
      timeout: PATIENCE_MS,
      interval: 5,
    })
    .toBeGreaterThan(0);

describe("a cluster over Redis", () => {
  test("one text created a hundred times at once by two gateways is built once, and answered through either", async () => {
    const [one, two] = [await gateway(), await gateway()];
    await Promise.all([prefillWorker(), prefillWorker(), decodeWorker()]);
    const names = await Promise.all(Array.from({ length: 100 }, (_, i) => submit(i % 2 === 0 ? one : two, TEXT)));
    expect(new Set(names).size).toBe(1);
    const [context = ""] = names;
    await inState(one, context, Context_State.ACTIVE);
    await inState(two, context, Context_State.ACTIVE);
    expect(logged.filter((message) => message === "build taken")).toHaveLength(1);
    await expect.poll(() => two.cluster.listWorkers({}).then(({ workers }) => workers.filter(({ live }) => live).length)).toBe(3);
    for (const api of [one, two]) {
      let text = "";
      for await (const { event } of api.inference.query({ source: { case: "context", value: context }, question: "which?" })) {
        if (event.case === "answer") text = event.value.text;
      }
      expect(text).toMatch(/^[0-9a-f]{8} which\?$/);
    }
    // The request was kept for the build alone.
    expect(await readdir(`${folder}/store/v1/builds`).catch(() => [])).toEqual([]);
  });

  test("a build whose worker goes away is finished by another one", async () => {
    const api = await gateway();
    const first = await prefillWorker();
    const context = await submit(api, LONG_TEXT, "toy-slow");
    await prefilling(api, context);
    await prefillWorker();
    await first.close({ drainMs: 0 });
    await inState(api, context, Context_State.ACTIVE);
    expect(logged.filter((message) => message === "build taken")).toHaveLength(2);
    expect(logged.filter((message) => message === "build committed")).toHaveLength(1);
  });

  test("a build outlives the gateway that accepted it", async () => {
    const [one, two] = [await gateway(), await gateway()];
    await prefillWorker();
    const context = await submit(one, LONG_TEXT, "toy-slow");
    await prefilling(one, context);
    await one.gateway.close({ drainMs: 0 });
    await inState(two, context, Context_State.ACTIVE);
    expect(logged).toContain("build taken over from another gateway");
  });

  test("a build that never got into the queue is not taken for an earlier one of the same text", async () => {
    const api = await gateway();
    await prefillWorker();
    const context = await submit(api, TEXT);
    await inState(api, context, Context_State.ACTIVE);
    const catalogue = openCatalogue(sharedUrl());
    closing.push(() => catalogue.close());
    const record = await catalogue.get(context.replace("contexts/", ""));
    await api.contexts.deleteContext({ name: context, purge: true });
    await expect.poll(() => readdir(`${folder}/store/v1/contexts`).catch(() => [])).toEqual([]);
    if (record === undefined) throw new Error("no such record");
    await catalogue.remove(record);
    // As a gateway leaves it that dies right after it accepted the context.
    const state = { type: "creating" as const, progress: create(ProgressSchema, {}) };
    await catalogue.begin({ ...record, buildId: randomUUID(), createTimeMs: Date.now() - 60_000, state });
    await inState(api, context, Context_State.FAILED);
    const { error } = await api.contexts.getContext({ name: context });
    expect(error && fromRpcStatus(error)).toMatchObject({ code: "ENGINE_DIED", retryable: true });
    expect(await submit(api, TEXT)).toBe(context);
    await inState(api, context, Context_State.ACTIVE);
  });

  test("states survive a restart of every gateway", async () => {
    const before = await gateway();
    await prefillWorker();
    const active = await submit(before, TEXT);
    const failed = await submit(before, "x".repeat(TOY_CONFIG.maxTokens + 1));
    await inState(before, active, Context_State.ACTIVE);
    await inState(before, failed, Context_State.FAILED);
    await before.gateway.close({ drainMs: 0 });
    const after = await gateway();
    expect((await after.contexts.getContext({ name: active })).report?.contextTokens).toBe(TEXT.length);
    expect((await after.contexts.getContext({ name: failed })).state).toBe(Context_State.FAILED);
  });

  test("a context deleted through one gateway while it is built is gone for the other, and leaves nothing", async () => {
    const [one, two] = [await gateway(), await gateway()];
    await prefillWorker();
    const context = await submit(one, LONG_TEXT, "toy-slow");
    await prefilling(two, context);
    const watch = one.contexts.watchContext({ name: context });
    expect((await watch.next()).value?.context?.state).toBe(Context_State.CREATING);
    await two.contexts.deleteContext({ name: context });
    let deleted = false;
    for await (const message of watch) deleted = message.deleted;
    expect(deleted).toBe(true);
    expect((await failureOf(one.contexts.getContext({ name: context }))).code).toBe("CONTEXT_NOT_FOUND");
    expect(await readdir(`${folder}/store/v1/contexts`).catch(() => [])).toEqual([]);
    await expect.poll(() => readdir(`${folder}/store/v1/builds`).catch(() => [])).toEqual([]);
  });

  test("a catalogue that was lost is filled again from the store, with what was changed of its contexts", async () => {
    const api = await gateway();
    await prefillWorker();
    const [kept, deleted] = [await submit(api, TEXT), await submit(api, `${TEXT}!`)];
    for (const context of [kept, deleted]) await inState(api, context, Context_State.ACTIVE);
    const changed = await api.contexts.updateContext({
      context: { name: kept, displayName: "n", labels: { a: "b" }, pinned: true },
    });
    await api.contexts.deleteContext({ name: deleted });
    await api.gateway.close({ drainMs: 0 });
    name = `t${randomUUID()}`;
    const after = await gateway();
    const { displayName, labels, pinned, etag } = await after.contexts.getContext({ name: kept });
    expect({ displayName, labels, pinned, etag }).toEqual({
      displayName: "n",
      labels: { a: "b" },
      pinned: true,
      etag: changed.etag,
    });
    expect((await after.contexts.getContext({ name: deleted })).state).toBe(Context_State.DELETED);
    expect((await after.contexts.undeleteContext({ name: deleted })).state).toBe(Context_State.ACTIVE);
  });

  test("changes by two gateways at once are all there, whichever of them is asked", async () => {
    const [one, two] = [await gateway(), await gateway()];
    await prefillWorker();
    const context = await submit(one, TEXT);
    await inState(one, context, Context_State.ACTIVE);
    await Promise.all([
      one.contexts.updateContext({ context: { name: context, displayName: "n" } }),
      two.contexts.updateContext({ context: { name: context, labels: { a: "b" } } }),
      one.contexts.updateContext({ context: { name: context, pinned: true } }),
    ]);
    const seen = await one.contexts.getContext({ name: context });
    expect(seen).toMatchObject({ displayName: "n", labels: { a: "b" }, pinned: true });
    expect(await two.contexts.getContext({ name: context })).toEqual(seen);
  });

  test("a damaged record is an error, or an answer from the text that is right, and is built again", async () => {
    const api = await gateway();
    await prefillWorker();
    let decode = await decodeWorker();
    const context = await submit(api, TEXT);
    await inState(api, context, Context_State.ACTIVE);
    const ask = async (more: object = {}): Promise<{ text: string; reason: string }> => {
      const request = { source: { case: "context" as const, value: context }, question: "which?", ...more };
      for await (const { event } of api.inference.query(request)) {
        if (event.case === "answer") return { text: event.value.text, reason: event.value.cache?.reason ?? "" };
      }
      throw new Error("no answer");
    };
    const isLive = async (): Promise<boolean> =>
      (await api.cluster.listWorkers({})).workers.some(({ live, address }) => live && address === decode.address);
    const found = (): Promise<void> => expect.poll(isLive, { timeout: PATIENCE_MS }).toBe(true);
    await found();
    const right = (await ask()).text;
    const damage = async (): Promise<void> => {
      await decode.close({ drainMs: 0 });
      const parts = `${folder}/store/v1/contexts/${context.replace("contexts/", "")}/parts`;
      for (const part of await readdir(parts)) await writeFile(`${parts}/${part}`, "damaged");
      decode = await decodeWorker();
      await found();
    };
    await damage();
    const content = { content: { case: "text" as const, value: TEXT } };
    const recompute = { onMiss: { action: { case: "recompute" as const, value: { content } } } };
    expect(await ask(recompute)).toEqual({ text: right, reason: "RECOMPUTED CACHE_CORRUPT" });
    await inState(api, context, Context_State.ACTIVE);
    expect((await ask()).text).toBe(right);
    await damage();
    expect((await failureOf(ask())).code).toBe("CACHE_CORRUPT");
  });
});
