import { keepRows, resolveSpec, type StoredProfile, selectPairs } from "@kvault/compression";
import { KvaultError } from "@kvault/core";
import { gate } from "@kvault/core/testing";
import { type BlobStore, checkedStore, manifestKey, openMemoryStore, partKey, readManifest } from "@kvault/kvstore";
import { faultyStore } from "@kvault/kvstore/testing";
import { afterEach, describe, expect, test } from "vitest";
import { RunLoop } from "../batching/run-loop.ts";
import { fullLayer } from "../resident-context.ts";
import { GREEDY } from "../sampling/sampler.ts";
import { buildRequest } from "../testing/build-request.ts";
import { toyBuild, toyLoad, toyQuery } from "../testing/toy-requests.ts";
import { createToyRunner, makeToyResident, TOY_CONFIG, TOY_IDENTITY, type ToyHooks, toyAnswer } from "../testing/toy-runner.ts";
import { createEngineCore, type EngineCoreOptions } from "./core.ts";
import type { EngineMethod, EventOf, RequestOf, ResultOf } from "./messages.ts";
import { gatherScoreSource, inputsOf, prefillFor } from "./score-source.ts";
import type { EngineCore } from "./serve.ts";
import type { BuildProgress, QueryDelta, QueryRequest } from "./types.ts";

const TEXT = "The vault's combination is 7193; nobody may write it down. ".repeat(8);
const cores: EngineCore[] = [];

afterEach(async () => {
  for (const core of cores.splice(0)) await core.close();
});

interface Bench {
  readonly core: EngineCore;
  readonly store: BlobStore;
  readonly opened: string[];
  call<M extends EngineMethod>(
    method: M,
    request: RequestOf<M>,
    options?: { signal?: AbortSignal; emit?: (event: EventOf<M>) => void; proceed?: Promise<void> },
  ): Promise<ResultOf<M>>;
}

function bench(hooks: ToyHooks = {}, changes: Partial<EngineCoreOptions> = {}): Bench {
  const opened: string[] = [];
  const store = changes.store ?? checkedStore(openMemoryStore());
  const core = createEngineCore({
    openModel: async (model) => {
      opened.push(model);
      return createToyRunner(hooks);
    },
    makeResident: makeToyResident,
    residentBytes: 64 * 1024 * 1024,
    lostContextIds: [],
    ...changes,
    store,
  });
  cores.push(core);
  return {
    core,
    store,
    opened,
    call: (
      method,
      request,
      { signal = new AbortController().signal, emit = () => undefined, proceed = Promise.resolve() } = {},
    ) => core.handlers[method](request, { signal, emit, proceed, waitedMs: 0 }),
  };
}

async function keysOf(store: BlobStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const key of store.list("v1/contexts/")) keys.push(key);
  return keys;
}

/** What the toy answers on `text` kept as `spec` says, worked out without an engine. */
async function expectedAnswer(text: string, spec: string, question: string): Promise<string> {
  const runner = createToyRunner();
  const plan = resolveSpec(spec);
  const loop = new RunLoop();
  const prompt = runner.prompts.context({ text });
  const prefilled = await prefillFor(inputsOf(plan), loop, runner, prompt, {});
  const { source } = await gatherScoreSource(inputsOf(plan), loop, runner, prefilled, {});
  const selection = selectPairs(plan, source);
  const layers = Array.from({ length: TOY_CONFIG.numLayers }, (_, l) => keepRows(selection, l, prefilled.layer(l)));
  return toyAnswer(makeToyResident(prefilled.seqLen, layers), question);
}

describe("build", () => {
  test.each(["none", "kvzip(chunk=64)|global|top-k(keep=0.3)|f16", "l2norm|uniform|top-k(keep=0.5)|f32"])(
    "publishes a record of %s that another engine answers from",
    async (spec) => {
      const writer = bench();
      const request = toyBuild(TEXT, spec);
      const { manifest, created } = await writer.call("build", request);
      expect(created).toBe(true);
      expect(await readManifest(writer.store, request.contextId)).toEqual(manifest);
      expect(manifest.report.keptRatio).toBeCloseTo(resolveSpec(spec).keepRatio, 2);

      const reader = bench({}, { store: writer.store });
      const answer = await reader.call("query", toyQuery(request, "which number?"));
      expect(answer.text).toBe(await expectedAnswer(TEXT, spec, "which number?"));
      expect(answer.usage).toMatchObject({ contextTokens: TEXT.length, keptPairs: manifest.report.keptPairs });
    },
  );

  test("scores for a codec that spends its bits by scores, where every pair is kept too", async () => {
    const { call } = bench();
    const { manifest } = await call("build", toyBuild(TEXT, "kvzip(chunk=64)|uniform|top-k(keep=1)|leankv"));
    expect(manifest.report.keptRatio).toBe(1);
  });

  test("stores the pairs of a layer once that another layer reads, and both are read back", async () => {
    const map: StoredProfile = {
      ...{ name: "layer-map", shape: [3], values: Float32Array.of(0, 1, 0), digest: "d".repeat(64) },
      ...{ model: "toy", weightsSha256: TOY_IDENTITY.weightsSha256, method: "layer-map", seed: 1, texts: [] },
    };
    const profiles = { find: () => map, modelsWith: () => ["toy"] };
    const writer = bench({}, { profiles });
    const request = buildRequest("toy", TOY_IDENTITY, TEXT, "kvsharer", profiles);
    const { manifest } = await writer.call("build", request);
    expect(manifest.layers[2]).toEqual(manifest.layers[0]);
    expect(manifest.layers[1]!.parts).not.toEqual(manifest.layers[0]!.parts);
    expect((await keysOf(writer.store)).filter((key) => key.includes("/parts/"))).toHaveLength(2);
    expect(manifest.report.storedBytes).toBe(manifest.layers[0]!.parts[0]!.bytes + manifest.layers[1]!.parts[0]!.bytes);

    const runner = createToyRunner();
    const prefilled = await runner.prefill(runner.prompts.context({ text: TEXT }));
    const layers = [0, 1, 0].map((layer) => fullLayer(prefilled.layer(layer)));
    const answer = await bench({}, { store: writer.store }).call("query", toyQuery(request, "which number?"));
    expect(answer.text).toBe(toyAnswer(makeToyResident(manifest.nextPosition, layers), "which number?"));
  });

  test("reports every phase, in order and to its end", async () => {
    const { call } = bench();
    const progress: BuildProgress[] = [];
    await call("build", toyBuild(TEXT, "kvzip"), { emit: (event) => event.phase !== "commit" && progress.push(event) });
    const phases = [...new Set(progress.map(({ phase }) => phase))];
    expect(phases).toEqual(["loading", "prefill", "score", "compress", "publish"]);
    for (const phase of phases) {
      const last = progress.filter((event) => event.phase === phase).at(-1);
      expect(last?.done).toBe(last?.total);
    }
    expect(progress.at(-1)).toEqual({ phase: "publish", done: TOY_CONFIG.numLayers, total: TOY_CONFIG.numLayers });
  });

  test("that asks before its commit has put its parts and no manifest until it is answered", async () => {
    const { call, store } = bench();
    const asked = gate();
    const answered = gate();
    const request = toyBuild(TEXT, "none");
    const build = call(
      "build",
      { ...request, asksBeforeCommit: true },
      { emit: ({ phase }) => phase === "commit" && asked.pass(), proceed: answered.passed },
    );
    await asked.passed;
    const before = await keysOf(store);
    expect(before.length).toBeGreaterThan(0);
    expect(before).not.toContain(manifestKey(request.contextId));
    answered.pass();
    await build;
    expect(await keysOf(store)).toContain(manifestKey(request.contextId));
  });

  test("measures the seconds of every phase", async () => {
    const pause = () => new Promise<void>((resolve) => setTimeout(resolve, 2));
    const { call } = bench({ onPrefillRun: pause });
    const { manifest } = await call("build", toyBuild(TEXT, "kvzip"));
    const { seconds } = manifest.report;
    expect(seconds.prefill).toBeGreaterThan(0.01);
    expect(seconds.score).toBeGreaterThan(0.01);
    expect(seconds.compress).toBeGreaterThan(0);
    expect(seconds.publish).toBeGreaterThan(0);
  });

  test("finds the record of an earlier build of the same request without running the model", async () => {
    const first = bench();
    const request = toyBuild(TEXT);
    const { manifest } = await first.call("build", request);
    const again = bench({}, { store: first.store });
    expect(await again.call("build", request)).toEqual({ manifest, created: false });
    expect(again.opened).toEqual([]);
  });

  test("runs one build at a time", async () => {
    let running = 0;
    const { call } = bench({
      onPrefillRun: async () => {
        expect(++running).toBe(1);
        await Promise.resolve();
        running--;
      },
    });
    const builds = [call("build", toyBuild(`${TEXT}1`)), call("build", toyBuild(`${TEXT}2`))];
    expect((await Promise.all(builds)).map(({ created }) => created)).toEqual([true, true]);
  });

  test.each<[string, string, () => ReturnType<typeof toyBuild>, string]>([
    ["an empty text", "INVALID_ARGUMENT", () => toyBuild(""), "content"],
    ["blank text", "INVALID_ARGUMENT", () => toyBuild(" \n\t"), "content"],
    ["a text longer than the model", "TOKEN_LIMIT", () => toyBuild("x".repeat(TOY_CONFIG.maxTokens)), "content"],
    [
      "content that is not what was hashed",
      "INVALID_ARGUMENT",
      () => ({ ...toyBuild(TEXT), content: { text: "other" } }),
      "content_sha256",
    ],
    [
      "a digest made for something else",
      "INCOMPATIBLE_MODEL",
      () => ({ ...toyBuild(TEXT), digest: toyBuild("x").digest }),
      "digest",
    ],
    [
      "a context id of another digest",
      "INVALID_ARGUMENT",
      () => ({ ...toyBuild(TEXT), contextId: toyBuild("x").contextId }),
      "context_id",
    ],
  ])("refuses %s and leaves nothing behind", async (_, code, request, field) => {
    const { call, store } = bench();
    await expect(call("build", request())).rejects.toMatchObject({ code, details: { field } });
    expect(await keysOf(store)).toEqual([]);
  });

  test("leaves nothing behind when the store fails in the middle of publishing", async () => {
    const inner = openMemoryStore();
    let puts = 0;
    const store: BlobStore = checkedStore({
      ...bindStore(inner),
      put: async (key, bytes, options) => {
        if (++puts === 3) throw new KvaultError("STORE_FULL", "Cannot put: the disk is full");
        return inner.put(key, bytes, options);
      },
    });
    const { call } = bench({}, { store });
    await expect(call("build", toyBuild(TEXT))).rejects.toMatchObject({ code: "STORE_FULL" });
    expect(await keysOf(store)).toEqual([]);
  });

  test.each(["prefill", "score", "compress", "publish"] as const)(
    "stops when cancelled during %s and leaves nothing",
    async (phase) => {
      const { call, store } = bench();
      const controller = new AbortController();
      const build = call("build", toyBuild(TEXT, "kvzip"), {
        signal: controller.signal,
        emit: (event) => event.phase === phase && controller.abort(),
      });
      await expect(build).rejects.toMatchObject({ code: "CANCELLED" });
      expect(await keysOf(store)).toEqual([]);
      await expect(call("build", toyBuild(TEXT))).resolves.toMatchObject({ created: true });
    },
  );

  test("a build cancelled while it waits never starts, and the next one still waits its turn", async () => {
    const runs: string[] = [];
    const { call } = bench({ onPrefillRun: () => void runs.push("run") });
    const controller = new AbortController();
    const first = call("build", toyBuild(`${TEXT}1`));
    const second = call("build", toyBuild(`${TEXT}2`), { signal: controller.signal });
    const third = call("build", toyBuild(`${TEXT}3`));
    controller.abort();
    await expect(second).rejects.toMatchObject({ code: "CANCELLED" });
    await first;
    await third;
    const perBuild = Math.ceil((TEXT.length + 1 + 5) / 64);
    expect(runs).toHaveLength(2 * perBuild);
  });
});

describe("query", () => {
  test("streams deltas that join to the answer and carry every token", async () => {
    const { call } = bench();
    const request = toyBuild(TEXT);
    await call("build", request);
    const deltas: QueryDelta[] = [];
    const answer = await call("query", toyQuery(request, "naïve 😀?"), { emit: (delta) => deltas.push(delta) });
    expect(deltas.map(({ text }) => text).join("")).toBe(answer.text);
    expect(answer.text).toBe(await expectedAnswer(TEXT, "none", "naïve 😀?"));
    expect(Buffer.from(deltas.flatMap(({ tokenIds }) => tokenIds)).toString("utf8")).toBe(answer.text);
    expect(answer).toMatchObject({ finishReason: "end", usage: { newTokens: Buffer.byteLength(answer.text) } });
  });

  test("tells tier and reason of the cache: first use, resident, evicted, lost with the process before", async () => {
    const { call, store } = bench();
    const request = toyBuild(TEXT);
    const { manifest } = await call("build", request);
    const cacheOf = async (): Promise<object> => (await call("query", toyQuery(request, "?"))).cache;
    expect(await cacheOf()).toEqual({ tier: "store", reason: "FIRST_USE", bytesLoaded: manifest.report.storedBytes });
    expect(await cacheOf()).toEqual({ tier: "memory", reason: "RESIDENT", bytesLoaded: 0 });
    expect(await call("evict", { contextId: request.contextId })).toBe(true);
    expect(await cacheOf()).toMatchObject({ tier: "store", reason: "EVICTED" });
    const next = bench({}, { store, lostContextIds: [request.contextId] });
    expect((await next.call("query", toyQuery(request, "?"))).cache).toMatchObject({ reason: "ENGINE_RESTARTED" });
  });

  test("answers the same alone and among others, sampled or greedy", async () => {
    const { call } = bench();
    const request = toyBuild(TEXT);
    await call("build", request);
    const queries = Array.from({ length: 12 }, (_, i) =>
      toyQuery(request, `question ${i} ${"?".repeat(i)}`, {
        sampling: i % 2 === 0 ? GREEDY : { temperature: 3, topP: 0.9, topK: 40, seed: i },
        maxTokens: 40,
      }),
    );
    const alone: string[] = [];
    for (const query of queries) alone.push((await call("query", query)).text);
    const together = await Promise.all(queries.map((query) => call("query", query)));
    expect(together.map(({ text }) => text)).toEqual(alone);
    expect(new Set(alone).size).toBe(alone.length);
  });

  test("a query that comes while others decode joins their runs", async () => {
    const batchSizes: number[] = [];
    const { call } = bench({ onStepRun: (tokens) => void batchSizes.push(tokens.length) });
    const request = toyBuild(TEXT);
    await call("build", request);
    let second: Promise<unknown> | undefined;
    await call("query", toyQuery(request, "a long question, answered at length"), {
      emit: () => {
        second ??= call("query", toyQuery(request, "late"));
      },
    });
    await second;
    expect(Math.max(...batchSizes)).toBe(2);
  });

  test("reads an inline text for one query alone", async () => {
    const { call, core } = bench();
    const query = toyQuery(toyBuild(TEXT), "where?", { source: { type: "inline", content: { text: TEXT } } });
    const answer = await call("query", query);
    expect(answer.text).toBe(await expectedAnswer(TEXT, "none", "where?"));
    expect(answer.cache).toEqual({ tier: "none", reason: "INLINE", bytesLoaded: 0 });
    expect(core.snapshot().residentBytes).toBe(0);
  });

  test("others get tokens while an inline text is read", async () => {
    const order: string[] = [];
    const { call } = bench({
      onPrefillRun: () => void order.push("prefill"),
      onStepRun: () => void order.push("step"),
    });
    const request = toyBuild(TEXT);
    await call("build", request);
    order.length = 0;
    await Promise.all([
      call("query", toyQuery(request, "a question that is answered at some length")),
      call("query", toyQuery(request, "?", { source: { type: "inline", content: { text: TEXT } } })),
    ]);
    const prefills = order.flatMap((run, i) => (run === "prefill" ? [i] : []));
    expect(prefills.length).toBeGreaterThan(4);
    expect((prefills.at(-1) as number) - prefills[0]).toBeGreaterThan(prefills.length);
  });

  test("leaves no sequence behind when it is cancelled, and the others go on", async () => {
    const { call } = bench();
    const request = toyBuild(TEXT);
    await call("build", request);
    const controller = new AbortController();
    const other = call("query", toyQuery(request, "stay"));
    const cancelled = call("query", toyQuery(request, "go"), { signal: controller.signal, emit: () => controller.abort() });
    await expect(cancelled).rejects.toMatchObject({ code: "CANCELLED" });
    expect((await other).text).toBe(await expectedAnswer(TEXT, "none", "stay"));
  });

  test("a failing run fails the queries in it by name, and the next query works", async () => {
    let fail = true;
    const { call } = bench({
      onStepRun: () => {
        if (fail) throw new KvaultError("INTERNAL", "the graph failed");
      },
    });
    const request = toyBuild(TEXT);
    await call("build", request);
    const both = await Promise.allSettled([call("query", toyQuery(request, "1")), call("query", toyQuery(request, "2"))]);
    for (const outcome of both) expect(outcome).toMatchObject({ status: "rejected", reason: { code: "INTERNAL" } });
    fail = false;
    expect((await call("query", toyQuery(request, "3"))).text).toBe(await expectedAnswer(TEXT, "none", "3"));
  });

  test("ends at a stop string, at max_tokens and at the model's length", async () => {
    const { call } = bench();
    const request = toyBuild(TEXT);
    await call("build", request);
    const stopped = await call("query", toyQuery(request, "one two", { stop: ["two"] }));
    expect(stopped).toMatchObject({ finishReason: "stop" });
    expect(stopped.text.endsWith(" one ")).toBe(true);
    const cut = await call("query", toyQuery(request, "one two", { maxTokens: 5 }));
    expect(cut).toMatchObject({ finishReason: "max-tokens", usage: { newTokens: 5 } });
    const room = TOY_CONFIG.maxTokens - TEXT.length - "<toy>".length;
    const long = await call("query", toyQuery(request, "q".repeat(room - 4), { maxTokens: 100 }));
    expect(long).toMatchObject({ finishReason: "max-tokens", usage: { newTokens: 3 } });
  });

  test("times what it did", async () => {
    const { call } = bench({ onStepRun: () => new Promise((resolve) => setTimeout(resolve, 2)) });
    const request = toyBuild(TEXT);
    await call("build", request);
    const { timings } = await call("query", toyQuery(request, "how long?"));
    expect(timings.ttftMs).toBeGreaterThanOrEqual(timings.loadMs + timings.queueMs + 1);
    expect(timings.tpotMs).toBeGreaterThan(1);
    expect(timings.totalMs).toBeGreaterThan(timings.ttftMs + 10 * timings.tpotMs);
  });

  const bad: [string, string, Partial<QueryRequest>][] = [
    ["a question of no text", "question", { question: "  " }],
    ["no tokens to generate", "limits.max_tokens", { maxTokens: 0 }],
    ["a negative temperature", "sampling.temperature", { sampling: { ...GREEDY, temperature: -1 } }],
    ["an empty stop string", "stop", { stop: [""] }],
  ];
  test.each(bad)("refuses %s before it opens a model", async (_, field, changes) => {
    const { call, opened } = bench();
    const query = call("query", toyQuery(toyBuild(TEXT), "?", changes));
    await expect(query).rejects.toMatchObject({ code: "INVALID_ARGUMENT", details: { field } });
    expect(opened).toEqual([]);
  });

  test("refuses a question longer than what the context leaves", async () => {
    const { call } = bench();
    const request = toyBuild(TEXT);
    await call("build", request);
    const query = call("query", toyQuery(request, "q".repeat(TOY_CONFIG.maxTokens)));
    await expect(query).rejects.toMatchObject({ code: "TOKEN_LIMIT", details: { field: "question" } });
  });

  test("refuses a context that is not there, is another than asked for, or has one flipped bit", async () => {
    const { call, store } = bench();
    const request = toyBuild(TEXT);
    await expect(call("query", toyQuery(request, "?"))).rejects.toMatchObject({ code: "CONTEXT_NOT_FOUND" });
    const { manifest } = await call("build", request);
    const foreign = { ...request, digest: toyBuild("another").digest };
    await expect(call("query", toyQuery(foreign, "?"))).rejects.toMatchObject({
      code: "INCOMPATIBLE_MODEL",
      details: { field: "digest", expected: foreign.digest, found: request.digest },
    });
    const key = partKey(request.contextId, manifest.layers[1].parts[0].sha256);
    const bytes = Uint8Array.from(await store.get(key));
    bytes[bytes.length - 1] ^= 1;
    await store.put(key, bytes);
    await expect(call("query", toyQuery(request, "?"))).rejects.toMatchObject({ code: "CACHE_CORRUPT" });
  });

  test("refuses a record of another model by the field that differs", async () => {
    const { call, store } = bench();
    const request = toyBuild(TEXT);
    await call("build", request);
    const other = bench(
      {},
      {
        store,
        openModel: async () => {
          const runner = createToyRunner();
          return { ...runner, identity: { ...runner.identity, templateSha256: "f".repeat(64) } };
        },
      },
    );
    await expect(other.call("query", toyQuery(request, "?"))).rejects.toMatchObject({
      code: "INCOMPATIBLE_MODEL",
      details: { field: "templateSha256" },
    });
  });

  test("reads a context whose manifest says that its time is over: lifetimes change, and the gateway knows them", async () => {
    const { call } = bench();
    const request = { ...toyBuild(TEXT), expireTimeMs: 1_700_000_000_001 };
    await call("build", request);
    await expect(call("query", toyQuery(request, "?"))).resolves.toMatchObject({ cache: { tier: "store" } });
  });

  test("gives a record up that does not load in the time that it may take, and a damaged one at once", async () => {
    const memory = openMemoryStore();
    const request = toyBuild(TEXT);
    await bench({}, { store: memory }).call("build", request);
    const asleep = gate();
    const slow = faultyStore(memory, [{ on: "get", keyEnd: ".safetensors", effect: "delay", until: asleep.passed }]);
    await expect(
      bench({}, { store: slow }).call("query", { ...toyQuery(request, "?"), loadTimeoutMs: 20 }),
    ).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", details: { timeoutMs: 20 } });
    asleep.pass();
    const damaged = faultyStore(memory, [{ on: "get", keyEnd: ".safetensors", effect: "flip-bit", bit: 77 }]);
    await expect(
      bench({}, { store: damaged }).call("query", { ...toyQuery(request, "?"), loadTimeoutMs: 10_000 }),
    ).rejects.toMatchObject({ code: "CACHE_CORRUPT" });
  });

  test("counts tokens as contexts and questions have them", async () => {
    const { call } = bench();
    const request = toyBuild(TEXT);
    const { manifest } = await call("build", request);
    const counted = await call("countTokens", { model: request.model, content: request.content, question: "Why?" });
    const answer = await call("query", toyQuery(request, "Why?"));
    expect(counted).toMatchObject({
      contextTokens: manifest.contextTokens,
      prefixTokens: manifest.prefixTokens,
      questionTokens: answer.usage.questionTokens,
    });
    expect(await call("countTokens", { model: request.model, question: "" })).toMatchObject({
      contextTokens: 0,
      questionTokens: 0,
    });
  });

  test("a context whose manifest is gone is not found, whatever parts remain", async () => {
    const { call, store } = bench();
    const request = toyBuild(TEXT);
    await call("build", request);
    await store.delete(manifestKey(request.contextId));
    await expect(call("load", toyLoad(request))).rejects.toMatchObject({ code: "CONTEXT_NOT_FOUND" });
  });
  test.each<[string, Partial<QueryRequest>]>([
    ["greedy", {}],
    ["cut short", { maxTokens: 15 }],
    ["sampled", { sampling: { temperature: 4, topP: 0.95, topK: 60, seed: 5 }, maxTokens: 60 }],
    ["with stop strings", { stop: ["zzz", "🙂?", "é漢x"] }],
  ])("an answer resumed at any of its deltas goes on as if it had never stopped: %s", async (_, changes) => {
    const { call, store } = bench();
    const build = toyBuild(TEXT);
    await call("build", build);
    const request = toyQuery(build, "é漢 or 🙂 or é漢 🙂? and more", changes);
    const deltas: QueryDelta[] = [];
    const whole = await call("query", request, { emit: (delta) => deltas.push(delta) });
    const other = bench({}, { store });
    expect(deltas.length).toBeGreaterThan(8);
    for (let n = 1; n <= deltas.length; n++) {
      const sent = deltas.slice(0, n);
      const text = sent.map((delta) => delta.text).join("");
      const tokenIds = sent.flatMap((delta) => delta.tokenIds);
      const rest: QueryDelta[] = [];
      const resumed = { ...request, resume: { tokenIds, textUnits: text.length } };
      const { usage, finishReason, ...answer } = await other.call("query", resumed, { emit: (delta) => rest.push(delta) });
      expect(text + rest.map((delta) => delta.text).join("")).toBe(whole.text);
      expect([...sent, ...rest].flatMap((delta) => delta.tokenIds)).toEqual(deltas.flatMap((delta) => delta.tokenIds));
      expect({ usage, finishReason, text: answer.text }).toEqual({
        usage: whole.usage,
        finishReason: whole.finishReason,
        text: whole.text,
      });
    }
  });

  test("refuses to resume after tokens the model does not have", async () => {
    const { call } = bench();
    const build = toyBuild(TEXT);
    await call("build", build);
    const resume = { tokenIds: [TOY_CONFIG.vocabSize], textUnits: 0 };
    await expect(call("query", toyQuery(build, "?", { resume }))).rejects.toMatchObject({ details: { field: "resume" } });
  });
});

describe("resident contexts of an engine", () => {
  test("let the least recently used one go when the budget is full", async () => {
    const texts = ["a", "b", "c"].map((letter) => toyBuild(letter.repeat(200)));
    const perContext = (200 + 5) * TOY_CONFIG.numLayers * TOY_CONFIG.numKvHeads * TOY_CONFIG.headDim * 8;
    const { call, core } = bench({}, { residentBytes: 2 * perContext + 10 });
    for (const request of texts) await call("build", request);
    await call("load", toyLoad(texts[0]));
    await call("load", toyLoad(texts[1]));
    expect(core.snapshot().residentBytes).toBe(2 * perContext);
    await call("load", toyLoad(texts[0]));
    await call("load", toyLoad(texts[2]));
    expect(core.snapshot()).toMatchObject({
      residentContextIds: [texts[0].contextId, texts[2].contextId],
      residentBytes: 2 * perContext,
    });
  });

  test("refuse a context that can never fit as not retryable", async () => {
    const { call } = bench({}, { residentBytes: 1_000 });
    const request = toyBuild(TEXT);
    await call("build", request);
    await expect(call("load", toyLoad(request))).rejects.toMatchObject({ code: "NO_CAPACITY", retryable: false });
  });
});

function bindStore(store: BlobStore): BlobStore {
  return {
    abilities: store.abilities,
    put: (...args) => store.put(...args),
    get: (...args) => store.get(...args),
    stat: (...args) => store.stat(...args),
    delete: (...args) => store.delete(...args),
    list: (...args) => store.list(...args),
    close: () => store.close(),
  };
}
