import { collect, failureOf } from "@kvault/core/testing";
import { anyUnpack, Context_State, ContextSchema, durationFromMs } from "@kvault/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { type Create, closeAll, contextOf, created, idOf, MODEL, request, startStack, textOf } from "./testing/stack.ts";

afterEach(closeAll);

describe("the life of a context", () => {
  test("create, wait, get, list, query, delete", async () => {
    const stack = await startStack();
    const operation = await stack.contexts.createContext(request("Some text.", { displayName: "first", labels: { a: "b" } }));
    expect(operation.name).toMatch(/^operations\/c[0-9a-f]{32}$/);
    const name = contextOf(operation);
    expect(idOf(name)).toBe(idOf(operation.name));

    const done = await stack.operations.waitOperation({ name: operation.name });
    expect(done.result.case).toBe("response");
    const built = done.result.case === "response" ? anyUnpack(done.result.value, ContextSchema) : undefined;
    expect(built).toMatchObject({ name, state: Context_State.ACTIVE, model: MODEL, displayName: "first", labels: { a: "b" } });
    expect(built?.spec).toBe("kvzip(chunk=2000,form=paper)|global|top-k(keep=0.3)|f16");
    expect(built?.report).toMatchObject({
      contextTokens: 12,
      keptPairs: 100n,
      seconds: { prefill: 1, queue: expect.any(Number) },
    });

    expect(await stack.contexts.getContext({ name })).toEqual(built);
    expect((await stack.contexts.listContexts({})).contexts).toEqual([built]);

    const events = await collect(stack.inference.query({ source: { case: "context", value: name }, question: "What?" }));
    expect(textOf(events)).toBe("a b");
    expect(events.at(-1)?.event.case).toBe("answer");
    expect(stack.decode[0]?.executes[0]).toMatchObject({
      model: MODEL,
      digest: built?.digest,
      question: "What?",
      limits: { maxTokens: 256 },
    });

    expect(await stack.contexts.deleteContext({ name, purge: true })).toMatchObject({});
    expect(stack.decode[0]?.evicted).toContain(idOf(name));
    expect(await failureOf(stack.contexts.getContext({ name }))).toMatchObject({ code: "CONTEXT_NOT_FOUND" });
    expect((await failureOf(stack.contexts.deleteContext({ name }))).code).toBe("CONTEXT_NOT_FOUND");
    expect((await stack.contexts.listContexts({})).contexts).toEqual([]);
  });

  test("a hundred identical creates at once are one context and one build", async () => {
    const stack = await startStack({ prefill: [{}, {}] });
    const operations = await Promise.all(Array.from({ length: 100 }, () => stack.contexts.createContext(request("Same text."))));
    expect(new Set(operations.map(({ name }) => name)).size).toBe(1);
    await stack.operations.waitOperation({ name: operations[0]?.name ?? "" });
    expect(stack.prefill.flatMap(({ builds }) => builds)).toHaveLength(1);
    const again = await stack.contexts.createContext(request("Same text."));
    expect(again.done).toBe(true);
    expect(stack.prefill.flatMap(({ builds }) => builds)).toHaveLength(1);
  });

  test.each<[string, Create]>([
    ["text", request("Other text.")],
    [
      "chat instead of text",
      { model: MODEL, content: { content: { case: "chat", value: { messages: [{ role: 2, content: "Text." }] } } } },
    ],
    ["method", request("Text.", { compression: { spec: "l2norm" } })],
    ["keep ratio", request("Text.", { compression: { keepRatio: 0.5 } })],
  ])("another %s is another context", async (_, other) => {
    const stack = await startStack();
    const one = contextOf(await stack.contexts.createContext(request("Text.")));
    expect(contextOf(await stack.contexts.createContext(other))).not.toBe(one);
  });

  test("two ways to write one method are one context", async () => {
    const stack = await startStack();
    const [a, b, c] = await Promise.all([
      stack.contexts.createContext(request("Text.")),
      stack.contexts.createContext(request("Text.", { compression: { spec: "kvzip", keepRatio: 0.3 } })),
      stack.contexts.createContext(request("Text.", { compression: { spec: "kvzip | global | top-k(keep=0.3) | f16" } })),
    ]);
    expect(new Set([a.name, b.name, c.name]).size).toBe(1);
  });

  test("validate_only names the context and leaves nothing behind", async () => {
    const stack = await startStack();
    const name = contextOf(await stack.contexts.createContext(request("Text.", { validateOnly: true })));
    expect((await failureOf(stack.contexts.getContext({ name }))).code).toBe("CONTEXT_NOT_FOUND");
    expect(contextOf(await stack.contexts.createContext(request("Text.")))).toBe(name);
  });

  test("the worker is given all that the record will need", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.", { displayName: "n", labels: { k: "v" }, ttl: durationFromMs(120_000) });
    const context = await stack.contexts.getContext({ name });
    const sent = stack.prefill[0]?.builds[0];
    expect(sent).toMatchObject({
      contextId: idOf(name),
      digest: context.digest,
      spec: context.spec,
      displayName: "n",
      labels: { k: "v" },
    });
    expect(sent?.content?.content).toEqual({ case: "text", value: "Text." });
    expect(Number(sent?.expireTimeMs) - Number(sent?.createTimeMs)).toBe(120_000);
  });
});
