import { KvaultError } from "@kvault/core";
import { collect, failureOf, gate, untilAborted } from "@kvault/core/testing";
import { Context_State } from "@kvault/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { quickAnswer, type WorkerScript } from "../testing/fake-worker.ts";
import { closeAll, created, MODEL, startStack, textOf } from "../testing/stack.ts";

afterEach(closeAll);

describe("Query", () => {
  const ask = (name: string, question = "What?") => ({ source: { case: "context", value: name } as const, question });

  test("cancelling mid-stream reaches the worker", async () => {
    const reason = gate<unknown>();
    const stack = await startStack({
      decode: [
        {
          async *execute(_, { signal }) {
            yield { event: { case: "delta", value: { text: "a", tokenIds: [1] } } };
            reason.pass(await untilAborted(signal));
          },
        },
      ],
    });
    const name = await created(stack, "Text.");
    for await (const { event } of stack.inference.query(ask(name))) {
      expect(event.case).toBe("delta");
      break;
    }
    expect(await reason.passed).toMatchObject({ code: "CANCELLED" });
  });

  test("the deadline reaches the worker, one hop earlier", async () => {
    const seen: number[] = [];
    const stack = await startStack({
      decode: [
        {
          execute: (request, call) => {
            seen.push(call.deadlineMs);
            return quickAnswer(request);
          },
        },
      ],
    });
    const name = await created(stack, "Text.");
    const deadlineMs = Date.now() + 10_000;
    await collect(stack.inference.query(ask(name), { deadlineMs }));
    expect(seen[0]).toBeLessThanOrEqual(deadlineMs);
    expect(seen[0]).toBeGreaterThan(deadlineMs - 1_000);
  });

  test("a worker that dies before the first token is replaced", async () => {
    let deaths = 0;
    const dying: WorkerScript = {
      // biome-ignore lint/correctness/useYield: it dies first
      async *execute() {
        deaths++;
        throw new KvaultError("ENGINE_DIED", "Cannot answer: engine died");
      },
    };
    const stack = await startStack({ decode: [dying, {}, dying] });
    for (let i = 0; i < 6; i++) {
      const name = await created(stack, `Text ${i}.`);
      expect(textOf(await collect(stack.inference.query(ask(name))))).toBe("a b");
    }
    expect(deaths).toBeGreaterThan(0);
    expect(stack.decode[1]?.executes).toHaveLength(6);
  });

  test("the same worker is tried again when there is no other, at most twice", async () => {
    let attempts = 0;
    const stack = await startStack({
      decode: [
        {
          // biome-ignore lint/correctness/useYield: it dies first
          async *execute() {
            attempts++;
            throw new KvaultError("ENGINE_DIED", "Cannot answer: engine died");
          },
        },
      ],
    });
    const name = await created(stack, "Text.");
    expect(await failureOf(stack.inference.query(ask(name)))).toMatchObject({ code: "ENGINE_DIED", retryable: true });
    expect(attempts).toBe(3);
  });

  test("a worker that dies after the first token ends the answer with a retryable error", async () => {
    let attempts = 0;
    const stack = await startStack({
      decode: [
        {
          async *execute() {
            attempts++;
            yield { event: { case: "delta", value: { text: "a", tokenIds: [1] } } };
            throw new KvaultError("ENGINE_DIED", "Cannot go on: engine died");
          },
        },
      ],
    });
    const name = await created(stack, "Text.");
    const answer = stack.inference.query(ask(name));
    expect((await answer.next()).value?.event.case).toBe("delta");
    expect(await failureOf(answer)).toMatchObject({ code: "ENGINE_DIED", retryable: true });
    expect(attempts).toBe(1);
  });

  test("an answer that stops without its end is an error, not an answer", async () => {
    const stack = await startStack({
      decode: [
        {
          async *execute() {
            yield { event: { case: "delta", value: { text: "a", tokenIds: [1] } } };
          },
        },
      ],
    });
    const name = await created(stack, "Text.");
    expect(await failureOf(stack.inference.query(ask(name)))).toMatchObject({ code: "UNREACHABLE", retryable: true });
  });

  test("every question on a context goes to one worker, contexts spread over all", async () => {
    const stack = await startStack({ decode: [{}, {}, {}] });
    for (let i = 0; i < 12; i++) {
      const name = await created(stack, `Text ${i}.`);
      await Promise.all([1, 2, 3].map(() => collect(stack.inference.query(ask(name)))));
    }
    const homes = new Map<string, number>();
    for (const [w, worker] of stack.decode.entries()) {
      expect(worker.executes.length).toBeGreaterThan(0);
      for (const { source } of worker.executes) {
        const id = String(source.value);
        expect(homes.get(id) ?? w).toBe(w);
        homes.set(id, w);
      }
    }
    expect(homes.size).toBe(12);
  });

  test("an inline text is answered without being stored", async () => {
    const stack = await startStack();
    const inline = { model: MODEL, content: { content: { case: "text", value: "Text." } as const } };
    const events = await collect(stack.inference.query({ source: { case: "inline", value: inline }, question: "What?" }));
    expect(textOf(events)).toBe("a b");
    expect(stack.decode[0]?.executes[0]?.source.case).toBe("inline");
    expect((await stack.contexts.listContexts({})).contexts).toEqual([]);
  });

  test("a damaged record fails its context, by name, and creating it again heals it", async () => {
    let damaged = true;
    const stack = await startStack({
      decode: [
        {
          async *execute(request) {
            if (damaged) throw new KvaultError("CACHE_CORRUPT", "Cannot read part", { details: { contextId: "c" } });
            yield* quickAnswer(request);
          },
        },
      ],
    });
    const name = await created(stack, "Text.");
    expect((await failureOf(stack.inference.query(ask(name)))).code).toBe("CACHE_CORRUPT");
    expect((await failureOf(stack.inference.query(ask(name)))).code).toBe("CACHE_CORRUPT");
    expect((await stack.contexts.getContext({ name })).state).toBe(Context_State.FAILED);
    damaged = false;
    await created(stack, "Text.");
    expect(textOf(await collect(stack.inference.query(ask(name))))).toBe("a b");
    expect(stack.prefill[0]?.builds).toHaveLength(2);
  });

  test("no worker at all is NO_CAPACITY", async () => {
    const stack = await startStack({ decode: [] }, { decodeWorkers: ["unix:/tmp/kvault-nobody.sock"] });
    const name = await created(stack, "Text.");
    expect(await failureOf(stack.inference.query(ask(name)))).toMatchObject({ code: "NO_CAPACITY", retryable: true });
  });

  test.each<[string, object]>([
    ["question", { question: " " }],
    ["question", { question: "x".repeat(64 * 1024 + 1) }],
    ["sampling.temperature", { sampling: { temperature: 2.1 } }],
    ["sampling.temperature", { sampling: { temperature: -1 } }],
    ["sampling.temperature", { sampling: { temperature: Number.NaN } }],
    ["sampling.top_p", { sampling: { topP: 1.1 } }],
    ["sampling.seed", { sampling: { seed: 2n ** 53n } }],
    ["limits.max_tokens", { limits: { maxTokens: 4097 } }],
    ["limits.stop", { limits: { stop: Array(17).fill("x") } }],
    ["limits.stop[0]", { limits: { stop: [""] } }],
    ["limits.stop[1]", { limits: { stop: ["x", "y".repeat(257)] } }],
    ["context", { source: { case: "context", value: "contexts/../x" } }],
    ["source", { source: { case: undefined } }],
  ])("refuses a bad %s (%#)", async (field, bad) => {
    const stack = await startStack();
    const name = await created(stack, "Text.");
    const error = await failureOf(stack.inference.query({ ...ask(name), ...bad }));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", details: { field } });
    expect(stack.decode[0]?.executes).toEqual([]);
  });

  test("a seed is drawn when none is given, and kept when one is", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.");
    const seedOf = async (seed: bigint): Promise<bigint | undefined> => {
      const last = (await collect(stack.inference.query({ ...ask(name), sampling: { seed } }))).at(-1)?.event;
      return last?.case === "answer" ? last.value.seed : undefined;
    };
    expect(await seedOf(42n)).toBe(42n);
    expect(await seedOf(0n)).toBeGreaterThan(0n);
  });

  test("an unknown context is CONTEXT_NOT_FOUND", async () => {
    const stack = await startStack();
    const error = await failureOf(stack.inference.query(ask(`contexts/c${"0".repeat(32)}`)));
    expect(error).toMatchObject({ code: "CONTEXT_NOT_FOUND", details: { context: `contexts/c${"0".repeat(32)}` } });
  });
});
