import { KvaultError } from "@kvault/core";
import { collect, failureOf, gate, untilAborted } from "@kvault/core/testing";
import { Context_State, Contexts, createClient, durationFromMs, fromRpcStatus, openChannel } from "@kvault/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { quickBuild, REPORT } from "../testing/fake-worker.ts";
import { closeAll, contextOf, created, idOf, request, startStack } from "../testing/stack.ts";

afterEach(closeAll);

describe("builds", () => {
  test("progress reaches Get, Watch and the operation; the watch ends with ACTIVE", async () => {
    const reported = gate();
    const finish = gate();
    const stack = await startStack({
      prefill: [
        {
          async *build() {
            yield { event: { case: "progress", value: { phase: 3, done: 512, total: 2048 } } };
            reported.pass();
            await finish.passed;
            yield REPORT;
          },
        },
      ],
    });
    const name = contextOf(await stack.contexts.createContext(request("Text.")));
    await reported.passed;
    const watch = stack.contexts.watchContext({ name });
    let seen = (await watch.next()).value;
    while (seen?.context?.progress?.done !== 512) seen = (await watch.next()).value;
    expect(seen.context).toMatchObject({
      state: Context_State.CREATING,
      progress: { phase: 3, done: 512, total: 2048, restarts: 0 },
    });
    const operation = await stack.operations.getOperation({ name: `operations/${idOf(name)}` });
    expect(operation.done).toBe(false);
    const question = stack.inference.query({ source: { case: "context", value: name }, question: "Now?" });
    expect(await failureOf(question)).toMatchObject({
      code: "CONTEXT_NOT_READY",
      retryable: true,
      details: { phase: "PREFILL", done: "512", total: "2048" },
    });
    finish.pass();
    expect((await collect(watch)).at(-1)?.context?.state).toBe(Context_State.ACTIVE);
  });

  test("a dead engine is tried again and counted", async () => {
    let attempts = 0;
    const stack = await startStack({
      prefill: [
        {
          async *build() {
            if (++attempts < 3) throw new KvaultError("ENGINE_DIED", "Cannot go on: engine died");
            yield* quickBuild();
          },
        },
      ],
    });
    const name = await created(stack, "Text.");
    expect((await stack.contexts.getContext({ name })).state).toBe(Context_State.ACTIVE);
    expect(attempts).toBe(3);
  });

  test("a failed build is FAILED with its error; creating it again builds it again", async () => {
    let attempts = 0;
    const stack = await startStack({
      prefill: [
        {
          async *build() {
            if (++attempts === 1)
              throw new KvaultError("TOKEN_LIMIT", "Cannot build: 40000 tokens", { details: { tokens: 40_000 } });
            yield* quickBuild();
          },
        },
      ],
    });
    const name = await created(stack, "Text.");
    const context = await stack.contexts.getContext({ name });
    expect(context.state).toBe(Context_State.FAILED);
    expect(context.error && fromRpcStatus(context.error)).toMatchObject({ code: "TOKEN_LIMIT", details: { tokens: "40000" } });
    const question = stack.inference.query({ source: { case: "context", value: name }, question: "Why?" });
    expect(await failureOf(question)).toMatchObject({ code: "CONTEXT_FAILED", details: { reason: "TOKEN_LIMIT" } });
    expect(await created(stack, "Text.")).toBe(name);
    expect((await stack.contexts.getContext({ name })).state).toBe(Context_State.ACTIVE);
  });

  test("a worker that vanishes is replaced by another one", async () => {
    const started = gate();
    const stack = await startStack({
      prefill: [
        {
          async *build(_, { signal }) {
            started.pass();
            await untilAborted(signal);
            yield REPORT;
          },
        },
        {},
      ],
    });
    const operation = await stack.contexts.createContext(request("Text."));
    await started.passed;
    await stack.prefill[0]?.server.close({ drainMs: 0 });
    const done = await stack.operations.waitOperation({ name: operation.name });
    expect(done.result.case).toBe("response");
    expect(stack.prefill[1]?.builds).toHaveLength(1);
  });

  test("a caller that leaves cancels nothing; DeleteContext does, and the worker is told", async () => {
    const reason = gate<unknown>();
    const started = gate();
    const stack = await startStack({
      prefill: [
        {
          async *build(_, { signal }) {
            started.pass();
            reason.pass(await untilAborted(signal));
            yield REPORT;
          },
        },
      ],
    });
    const leaver = openChannel(stack.gateway.address);
    const contexts = createClient(Contexts, leaver);
    const name = contextOf(await contexts.createContext(request("Text.")));
    const watch = contexts.watchContext({ name });
    await watch.next();
    const other = stack.contexts.watchContext({ name });
    await other.next();
    await started.passed;
    await watch.return?.();
    leaver.close();
    expect((await stack.contexts.getContext({ name })).state).toBe(Context_State.CREATING);

    await stack.contexts.deleteContext({ name });
    expect(await reason.passed).toMatchObject({ code: "CANCELLED" });
    expect((await collect(other)).at(-1)).toMatchObject({ deleted: true });
    expect(stack.decode[0]?.evicted).toEqual([idOf(name)]);
    expect((await failureOf(stack.contexts.getContext({ name }))).code).toBe("CONTEXT_NOT_FOUND");
    // And the name is free again.
    expect(contextOf(await stack.contexts.createContext(request("Text.")))).toBe(name);
  });

  test("CancelOperation fails the build with CANCELLED", async () => {
    const stack = await startStack({
      prefill: [
        {
          async *build(_, { signal }) {
            yield { event: { case: "progress", value: { phase: 3, done: 1, total: 2 } } };
            await untilAborted(signal);
          },
        },
      ],
    });
    const operation = await stack.contexts.createContext(request("Text."));
    await stack.operations.cancelOperation({ name: operation.name });
    const done = await stack.operations.waitOperation({ name: operation.name });
    expect(done.result.case === "error" && fromRpcStatus(done.result.value)).toMatchObject({ code: "CANCELLED" });
  });

  test("WaitOperation comes back at its timeout with the operation not done", async () => {
    const stack = await startStack({
      prefill: [
        {
          async *build(_, { signal }) {
            await untilAborted(signal);
            yield REPORT;
          },
        },
      ],
    });
    const { name } = await stack.contexts.createContext(request("Text."));
    expect((await stack.operations.waitOperation({ name, timeout: durationFromMs(20) })).done).toBe(false);
    expect((await stack.operations.waitOperation({ name }, { deadlineMs: Date.now() + 300 })).done).toBe(false);
    expect((await failureOf(stack.operations.getOperation({ name: "operations/nobody" }))).code).toBe("OPERATION_NOT_FOUND");
  });

  test("too much text waiting is refused with NO_CAPACITY and leaves nothing behind", async () => {
    const finish = gate();
    const stack = await startStack(
      {
        prefill: [
          {
            async *build() {
              await finish.passed;
              yield REPORT;
            },
          },
        ],
      },
      { maxQueuedBytes: 100 },
    );
    const first = await stack.contexts.createContext(request("x".repeat(80)));
    expect(await failureOf(stack.contexts.createContext(request("y".repeat(80))))).toMatchObject({
      code: "NO_CAPACITY",
      retryable: true,
    });
    expect((await stack.contexts.listContexts({})).contexts).toHaveLength(1);
    finish.pass();
    await stack.operations.waitOperation({ name: first.name });
    expect((await stack.contexts.createContext(request("y".repeat(80)))).name).toMatch(/^operations/);
  });

  test("a finished build is loaded by the worker that its questions go to; the operation does not wait for it", async () => {
    const loading = gate();
    const finish = gate();
    const load = async (): Promise<void> => {
      loading.pass();
      await finish.passed;
    };
    const stack = await startStack({ decode: [{ load }, { load }, { load }] });
    const name = await created(stack, "Text.");
    await loading.passed;
    finish.pass();
    await collect(stack.inference.query({ source: { case: "context", value: name }, question: "What?" }));
    const loaded = stack.decode.filter(({ loads }) => loads.length > 0);
    const asked = stack.decode.filter(({ executes }) => executes.length > 0);
    expect(loaded).toEqual(asked);
    expect(loaded[0]?.loads).toMatchObject([{ contextId: idOf(name) }]);
    expect(loaded[0]?.loads[0]?.digest).toBe(loaded[0]?.executes[0]?.digest);
  });

  test("a context whose worker cannot load it ahead is ACTIVE all the same", async () => {
    const load = async (): Promise<void> => {
      throw new KvaultError("NO_CAPACITY", "Cannot load");
    };
    const stack = await startStack({ decode: [{ load }] });
    const name = await created(stack, "Text.");
    expect((await stack.contexts.getContext({ name })).state).toBe(Context_State.ACTIVE);
  });
});
