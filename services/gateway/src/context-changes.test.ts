/** What may change of a context, over a whole gateway: update, pin, refresh, soft delete, warm, count. */
import { KvaultError } from "@kvault/core";
import { collect, failureOf, gate } from "@kvault/core/testing";
import { type ContextAttributes, openMemoryStore, putAttributes, readAttributes } from "@kvault/kvstore";
import { faultyStore } from "@kvault/kvstore/testing";
import { Context_State, durationFromMs, timestampFromMs, timestampMs } from "@kvault/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { closeAll, contextOf, created, idOf, MODEL, request, type Stack, startStack, textOf } from "./testing/stack.ts";

afterEach(closeAll);

const HOUR_MS = 3_600_000;

const ask = (stack: Stack, name: string): Promise<unknown> =>
  collect(stack.inference.query({ source: { case: "context", value: name }, question: "?" }));

describe("UpdateContext", () => {
  test("changes what the mask names and nothing else; every change has another etag", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.", { displayName: "old", labels: { a: "b" } });
    const before = await stack.contexts.getContext({ name });
    const after = await stack.contexts.updateContext({
      context: { name, displayName: "new", labels: { x: "y" } },
      updateMask: { paths: ["display_name"] },
    });
    expect(after).toMatchObject({ displayName: "new", labels: { a: "b" }, state: Context_State.ACTIVE, digest: before.digest });
    expect(after.etag).not.toBe(before.etag);
    expect(await stack.contexts.getContext({ name })).toEqual(after);
    expect(await stack.contexts.updateContext({ context: { name, labels: { x: "y" } } })).toMatchObject({
      displayName: "new",
      labels: { x: "y" },
    });
    const all = await stack.contexts.updateContext({ context: { name, pinned: true }, updateMask: { paths: ["*"] } });
    expect(all).toMatchObject({ displayName: "", labels: {}, pinned: true });
  });

  test("of many at once under one etag one is done; without etags none is lost", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.");
    const { etag } = await stack.contexts.getContext({ name });
    const racing = await Promise.allSettled(
      Array.from({ length: 8 }, (_, i) => stack.contexts.updateContext({ context: { name, etag, displayName: `n${i}` } })),
    );
    expect(racing.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    for (const each of racing) if (each.status === "rejected") expect(each.reason).toMatchObject({ code: "CONTEXT_CHANGED" });
    await Promise.all([
      stack.contexts.updateContext({ context: { name, displayName: "both" } }),
      stack.contexts.updateContext({ context: { name, pinned: true } }),
      stack.contexts.updateContext({ context: { name, labels: { a: "b" } } }),
    ]);
    expect(await stack.contexts.getContext({ name })).toMatchObject({ displayName: "both", pinned: true, labels: { a: "b" } });
  });

  test.each<[string, string, object, readonly string[] | undefined]>([
    ["an unknown field", "update_mask", {}, ["colour"]],
    ["what an answer depends on", "update_mask", { spec: "x" }, ["spec"]],
    ["nothing", "update_mask", {}, undefined],
    ["two lifetimes", "update_mask", { ttl: durationFromMs(HOUR_MS) }, ["ttl", "expire_time"]],
    ["a short lifetime", "ttl", { ttl: durationFromMs(1) }, ["ttl"]],
    ["a time that is over", "context.expire_time", { expireTime: timestampFromMs(1) }, ["expire_time"]],
    ["refreshing without a lifetime", "refresh_on_use", { refreshOnUse: true }, ["refresh_on_use"]],
    ["a long name", "context.display_name", { displayName: "n".repeat(257) }, ["display_name"]],
  ])("refuses %s naming %s", async (_, field, fields, paths) => {
    const stack = await startStack();
    const name = await created(stack, "Text.");
    const updating = stack.contexts.updateContext({
      context: { name, ...fields },
      ...(paths && { updateMask: { paths: [...paths] } }),
    });
    expect(await failureOf(updating)).toMatchObject({ code: "INVALID_ARGUMENT", details: { field } });
  });

  test("of a context that is being built stays when it is built", async () => {
    const [building, finish] = [gate(), gate()];
    const stack = await startStack({
      prefill: [
        {
          async *build() {
            building.pass();
            await finish.passed;
            yield { event: { case: "report", value: { keptPairs: 1n } } };
          },
        },
      ],
    });
    const operation = await stack.contexts.createContext(request("Text."));
    const name = contextOf(operation);
    await building.passed;
    expect((await stack.contexts.updateContext({ context: { name, displayName: "early" } })).state).toBe(Context_State.CREATING);
    finish.pass();
    await stack.operations.waitOperation({ name: operation.name });
    expect(await stack.contexts.getContext({ name })).toMatchObject({ state: Context_State.ACTIVE, displayName: "early" });
  });

  test("a change that a gateway died over is told by the next one, and lost by none", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.");
    const { createTime } = await stack.contexts.getContext({ name });
    const orphan: ContextAttributes = {
      ...{
        revision: 1,
        createTimeMs: timestampMs(createTime ?? timestampFromMs(0)),
        updateTimeMs: 5,
        displayName: "of the dead",
      },
      ...{ labels: {}, expireTimeMs: 0, ttlMs: 0, refreshOnUse: false, pinned: false, deleteTimeMs: 0, purgeTimeMs: 0 },
    };
    await putAttributes(stack.store, idOf(name), orphan);
    expect((await stack.contexts.getContext({ name })).displayName).toBe("");
    expect(await stack.contexts.updateContext({ context: { name, pinned: true } })).toMatchObject({
      displayName: "of the dead",
      pinned: true,
    });
    expect(await readAttributes(stack.store, idOf(name), orphan.createTimeMs)).toMatchObject({ revision: 2, pinned: true });
  });

  test("is refused when the store does not take it, and nothing is changed", async () => {
    let down = false;
    const memory = openMemoryStore();
    const error = new KvaultError("STORE_UNAVAILABLE", "Cannot reach the store");
    const failing = faultyStore(memory, [{ on: "put", keyEnd: ".json", effect: "fail", error }]);
    const store = new Proxy(memory, {
      get: (target, key) => {
        const from = key === "put" && down ? failing : target;
        const value = Reflect.get(from, key) as unknown;
        return typeof value === "function" ? value.bind(from) : value;
      },
    });
    const stack = await startStack({}, { store });
    const name = await created(stack, "Text.");
    const before = await stack.contexts.getContext({ name });
    down = true;
    expect((await failureOf(stack.contexts.updateContext({ context: { name, pinned: true } }))).code).toBe("STORE_UNAVAILABLE");
    expect((await failureOf(stack.contexts.deleteContext({ name }))).code).toBe("STORE_UNAVAILABLE");
    expect(await stack.contexts.getContext({ name })).toEqual(before);
    down = false;
    expect((await stack.contexts.updateContext({ context: { name, pinned: true } })).pinned).toBe(true);
  });
});

describe("a pinned context", () => {
  test("is not deleted but by force, and then it can be undeleted as it was", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.", { pinned: true });
    for (const purge of [false, true]) {
      expect((await failureOf(stack.contexts.deleteContext({ name, purge }))).code).toBe("CONTEXT_PINNED");
    }
    await stack.contexts.deleteContext({ name, force: true });
    expect(await stack.contexts.undeleteContext({ name })).toMatchObject({ pinned: true, state: Context_State.ACTIVE });
  });
});

describe("a context that is refreshed on use", () => {
  test("expires later for every use that gains a tenth of its lifetime, and is written no oftener", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.", { ttl: durationFromMs(HOUR_MS), refreshOnUse: true });
    const expiry = async (): Promise<number> =>
      timestampMs((await stack.contexts.getContext({ name })).expireTime ?? timestampFromMs(0));
    const first = await expiry();
    const { etag } = await stack.contexts.getContext({ name });
    for (let i = 0; i < 5; i++) await ask(stack, name);
    expect(await stack.contexts.getContext({ name })).toMatchObject({ etag });
    // Half of its time is over.
    const soon = timestampFromMs(first - HOUR_MS / 2);
    await stack.contexts.updateContext({ context: { name, expireTime: soon }, updateMask: { paths: ["expire_time"] } });
    await stack.contexts.updateContext({ context: { name, ttl: durationFromMs(HOUR_MS), refreshOnUse: true } });
    await ask(stack, name);
    await expect.poll(expiry).toBeGreaterThanOrEqual(first);
  });

  test("needs a lifetime", async () => {
    const stack = await startStack();
    const refused = failureOf(stack.contexts.createContext(request("Text.", { refreshOnUse: true })));
    expect(await refused).toMatchObject({ code: "INVALID_ARGUMENT", details: { field: "refresh_on_use" } });
  });
});

describe("DeleteContext", () => {
  test("takes a context out of use until it is undeleted; again changes nothing", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.", { displayName: "n" });
    const active = await stack.contexts.getContext({ name });
    const { context } = await stack.contexts.deleteContext({ name });
    expect(context).toMatchObject({ state: Context_State.DELETED, displayName: "n", report: active.report });
    expect(timestampMs(context?.purgeTime ?? timestampFromMs(0)) - timestampMs(context?.deleteTime ?? timestampFromMs(0))).toBe(
      24 * HOUR_MS,
    );
    expect(stack.decode[0]?.evicted).toContain(idOf(name));
    expect((await stack.contexts.deleteContext({ name })).context).toEqual(context);
    for (const refused of [
      () => ask(stack, name),
      () => stack.contexts.warmContext({ name }),
      () => stack.contexts.updateContext({ context: { name, pinned: true } }),
    ]) {
      expect((await failureOf(refused())).code).toBe("CONTEXT_DELETED");
    }
    expect((await collect(stack.contexts.watchContext({ name }))).at(-1)).toMatchObject({ deleted: true });
    expect((await stack.contexts.listContexts({})).contexts).toEqual([]);
    expect((await stack.contexts.listContexts({ states: [Context_State.DELETED] })).contexts).toEqual([context]);
    const back = await stack.contexts.undeleteContext({ name });
    expect({ ...back, etag: "", updateTime: undefined }).toEqual({ ...active, etag: "", updateTime: undefined });
    expect(await stack.contexts.undeleteContext({ name })).toEqual(back);
    await ask(stack, name);
  });

  test("with purge nothing is left to undelete", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.");
    await stack.contexts.deleteContext({ name });
    expect((await stack.contexts.deleteContext({ name, purge: true })).context).toBeUndefined();
    expect((await failureOf(stack.contexts.undeleteContext({ name }))).code).toBe("CONTEXT_NOT_FOUND");
  });

  test("under an etag is refused when the context has changed", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.");
    const { etag } = await stack.contexts.getContext({ name });
    await stack.contexts.updateContext({ context: { name, displayName: "n" } });
    expect((await failureOf(stack.contexts.deleteContext({ name, etag }))).code).toBe("CONTEXT_CHANGED");
  });

  test("what is deleted is purged when its time is over, and not before", async () => {
    const stack = await startStack({}, { deleteRetentionMs: 400, sweepIntervalMs: 20 });
    const [kept, purged] = [await created(stack, "Kept."), await created(stack, "Purged.")];
    await stack.contexts.deleteContext({ name: kept });
    await stack.contexts.deleteContext({ name: purged });
    await stack.contexts.undeleteContext({ name: kept });
    expect((await stack.contexts.getContext({ name: purged })).state).toBe(Context_State.DELETED);
    await expect
      .poll(() => stack.contexts.getContext({ name: purged }).catch(({ code }) => code as string))
      .toBe("CONTEXT_NOT_FOUND");
    expect((await stack.contexts.getContext({ name: kept })).state).toBe(Context_State.ACTIVE);
  });

  test("without a time to keep them contexts are gone at once", async () => {
    const stack = await startStack({}, { deleteRetentionMs: 0 });
    const name = await created(stack, "Text.");
    await stack.contexts.deleteContext({ name });
    expect((await failureOf(stack.contexts.getContext({ name }))).code).toBe("CONTEXT_NOT_FOUND");
  });

  test("creating a deleted context brings it back with what is asked now, and builds nothing", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.", { displayName: "old", labels: { a: "b" } });
    await stack.contexts.deleteContext({ name });
    const operation = await stack.contexts.createContext(request("Text.", { displayName: "new" }));
    expect(operation.done).toBe(true);
    expect(await stack.contexts.getContext({ name })).toMatchObject({
      state: Context_State.ACTIVE,
      displayName: "new",
      labels: {},
    });
    expect(stack.prefill[0]?.builds).toHaveLength(1);
  });
});

describe("request ids", () => {
  test("the same request again is the same operation, another one with the id is refused", async () => {
    const stack = await startStack();
    const more = { requestId: "r-1", labels: { a: "b", c: "d" } };
    const first = await stack.contexts.createContext(request("Text.", more));
    const swapped = { requestId: "r-1", labels: { c: "d", a: "b" } };
    expect((await stack.contexts.createContext(request("Text.", swapped))).name).toBe(first.name);
    for (const other of [request("Other text.", more), request("Text.", { ...more, pinned: true })]) {
      expect((await failureOf(stack.contexts.createContext(other))).code).toBe("REQUEST_ID_REUSED");
    }
    expect((await failureOf(stack.contexts.createContext(request("Text.", { requestId: "a b" })))).code).toBe("INVALID_ARGUMENT");
    expect((await stack.contexts.listContexts({})).contexts).toHaveLength(1);
  });

  test("a request that comes late does not bring back what was deleted since", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.", { requestId: "r-1" });
    await stack.contexts.deleteContext({ name });
    await stack.contexts.createContext(request("Text.", { requestId: "r-1" }));
    expect((await stack.contexts.getContext({ name })).state).toBe(Context_State.DELETED);
  });
});

describe("ListContexts", () => {
  test("filters by label and state, page by page", async () => {
    const stack = await startStack();
    for (let i = 0; i < 5; i++) await created(stack, `Text ${i}.`, { labels: { odd: `${i % 2}`, all: "yes" } });
    const names: string[] = [];
    let pageToken = "";
    do {
      const page = await stack.contexts.listContexts({ pageSize: 2, pageToken, labels: { all: "yes", odd: "0" } });
      names.push(...page.contexts.map(({ labels }) => labels["odd"] ?? ""));
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(names).toEqual(["0", "0", "0"]);
    expect((await stack.contexts.listContexts({ states: [Context_State.CREATING] })).contexts).toEqual([]);
    const unknown = failureOf(stack.contexts.listContexts({ states: [Context_State.UNSPECIFIED] }));
    expect(await unknown).toMatchObject({ code: "INVALID_ARGUMENT", details: { field: "states" } });
  });
});

describe("WarmContext", () => {
  test("loads at as many workers as are asked for and there are", async () => {
    const stack = await startStack({ decode: [{}, {}, {}] });
    const name = await created(stack, "Text.");
    const warmed = await stack.contexts.warmContext({ name, replicas: 2 });
    expect(new Set(warmed.replicas.map(({ workerAddress }) => workerAddress)).size).toBe(2);
    expect((await stack.contexts.warmContext({ name, replicas: 64 })).replicas).toHaveLength(3);
    for (const worker of stack.decode) expect(worker.loads.some(({ contextId }) => contextId === idOf(name))).toBe(true);
    expect((await failureOf(stack.contexts.warmContext({ name, replicas: 65 }))).code).toBe("INVALID_ARGUMENT");
  });

  test("goes to another worker when one cannot, and fails with the reason when none can", async () => {
    const fails = (code: "NO_CAPACITY" | "CACHE_CORRUPT") => ({
      load: async () => {
        throw new KvaultError(code, "Cannot load");
      },
    });
    const one = await startStack({ decode: [fails("NO_CAPACITY"), {}] });
    expect((await one.contexts.warmContext({ name: await created(one, "Text.") })).replicas).toHaveLength(1);
    const none = await startStack({ decode: [fails("CACHE_CORRUPT")] });
    expect((await failureOf(none.contexts.warmContext({ name: await created(none, "Text.") }))).code).toBe("CACHE_CORRUPT");
  });
});

describe("CountTokens", () => {
  test("asks a worker, for a text, messages or a question", async () => {
    const stack = await startStack();
    const content = { content: { case: "text" as const, value: "abc" } };
    expect(await stack.inference.countTokens({ model: MODEL, content, question: "Why?" })).toMatchObject({
      contextTokens: 3,
      questionTokens: 4,
    });
    expect((await failureOf(stack.inference.countTokens({ model: MODEL }))).code).toBe("INVALID_ARGUMENT");
    expect((await failureOf(stack.inference.countTokens({ model: "qwen9", question: "?" }))).code).toBe("MODEL_NOT_FOUND");
  });
});

describe("a query whose record cannot be had", () => {
  const TEXT = "The text itself.";
  const recompute = (text: string) => ({
    onMiss: { action: { case: "recompute" as const, value: { content: { content: { case: "text" as const, value: text } } } } },
  });
  /** Cannot read records, can read texts. */
  const withoutRecords = (code: "STORE_UNAVAILABLE" | "CACHE_CORRUPT" | "CONTEXT_NOT_FOUND" | "STORE_FORBIDDEN") => ({
    async *execute({ source }: { readonly source: { readonly case: string | undefined } }) {
      if (source.case === "contextId") throw new KvaultError(code, "Cannot read the record");
      yield { event: { case: "delta" as const, value: { text: "right", tokenIds: [1] } } };
      yield { event: { case: "answer" as const, value: { text: "right" } } };
    },
  });

  test.each(["STORE_UNAVAILABLE", "STORE_FORBIDDEN", "CACHE_CORRUPT", "CONTEXT_NOT_FOUND"] as const)(
    "%s is the error by default, and an answer from the text where it is brought",
    async (code) => {
      const stack = await startStack({ decode: [withoutRecords(code)] });
      const name = await created(stack, TEXT);
      const question = { source: { case: "context" as const, value: name }, question: "?" };
      const events = await collect(stack.inference.query({ ...question, ...recompute(TEXT) }));
      expect(textOf(events)).toBe("right");
      const end = events.at(-1)?.event;
      expect(end?.case === "answer" && end.value.cache?.reason).toBe(`RECOMPUTED ${code}`);
      const isLost = code === "CACHE_CORRUPT" || code === "CONTEXT_NOT_FOUND";
      await expect.poll(() => stack.prefill[0]?.builds.length).toBe(isLost ? 2 : 1);
      await stack.operations.waitOperation({ name: `operations/${idOf(name)}` });
      expect((await failureOf(collect(stack.inference.query(question)))).code).toBe(code);
    },
  );

  test("another text than the context's is refused, whatever state the record is in", async () => {
    const stack = await startStack({ decode: [withoutRecords("CACHE_CORRUPT")] });
    const name = await created(stack, TEXT);
    const question = { source: { case: "context" as const, value: name }, question: "?" };
    const refused = failureOf(collect(stack.inference.query({ ...question, ...recompute("Another text.") })));
    expect(await refused).toMatchObject({ code: "INVALID_ARGUMENT", details: { field: "on_miss.recompute" } });
    expect(stack.decode[0]?.executes).toEqual([]);
  });

  test("a server that has forgotten the context answers when model and compression come along", async () => {
    const stack = await startStack();
    const name = await created(stack, TEXT, { compression: { spec: "l2norm" } });
    await stack.contexts.deleteContext({ name, purge: true });
    const question = { source: { case: "context" as const, value: name }, question: "?" };
    const value = { content: request(TEXT).content, model: MODEL, compression: { spec: "l2norm" } };
    const asked = { ...question, onMiss: { action: { case: "recompute" as const, value } } } as Parameters<
      Stack["inference"]["query"]
    >[0];
    expect(textOf(await collect(stack.inference.query(asked)))).toBe("a b");
    // What was purged is not built again behind its owner's back.
    expect((await failureOf(stack.contexts.getContext({ name }))).code).toBe("CONTEXT_NOT_FOUND");
    expect((await failureOf(collect(stack.inference.query({ ...question, ...recompute(TEXT) })))).code).toBe("INVALID_ARGUMENT");
  });

  test("a deleted context is not answered from its text", async () => {
    const stack = await startStack();
    const name = await created(stack, TEXT);
    await stack.contexts.deleteContext({ name });
    const question = { source: { case: "context" as const, value: name }, question: "?" };
    expect((await failureOf(collect(stack.inference.query({ ...question, ...recompute(TEXT) })))).code).toBe("CONTEXT_DELETED");
  });

  test("an answer that has begun is not begun again", async () => {
    const stack = await startStack({
      decode: [
        {
          async *execute() {
            yield { event: { case: "delta", value: { text: "a", tokenIds: [1] } } };
            throw new KvaultError("STORE_UNAVAILABLE", "Cannot go on");
          },
        },
      ],
    });
    const name = await created(stack, TEXT);
    const question = { source: { case: "context" as const, value: name }, question: "?" };
    expect((await failureOf(collect(stack.inference.query({ ...question, ...recompute(TEXT) })))).code).toBe("STORE_UNAVAILABLE");
    expect(stack.decode[0]?.executes).toHaveLength(1);
  });

  test("questions of a batch are answered from the text each", async () => {
    const stack = await startStack({ decode: [withoutRecords("STORE_UNAVAILABLE")] });
    const name = await created(stack, TEXT);
    const questions = [{ question: "one?" }, { question: "two?" }];
    const events = await collect(stack.inference.queryBatch({ context: name, questions, ...recompute(TEXT) }));
    expect(events.filter(({ event }) => event.case === "answer")).toHaveLength(2);
    expect(events.some(({ event }) => event.case === "error")).toBe(false);
  });
});
