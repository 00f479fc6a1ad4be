import { type ErrorCode, KvaultError } from "@kvault/core";
import { collect, failureOf, gate, untilAborted } from "@kvault/core/testing";
import { ChatMessage_Role, Context_State, type QueryResponse, type ServiceClass } from "@kvault/rpc";
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

  describe("an answer whose worker goes away in the middle", () => {
    const WORDS = ["one ", "two ", "three ", "four ", "five"];
    /** Says {@link WORDS} from where it is told to; `until` throws before the word of that index. */
    const speaker = (until = WORDS.length, code: ErrorCode = "UNREACHABLE"): WorkerScript => ({
      async *execute({ resume }) {
        const from = resume?.tokenIds.length ?? 0;
        expect(resume?.textUnits ?? 0).toBe(WORDS.slice(0, from).join("").length);
        for (let i = from; i < WORDS.length; i++) {
          if (i >= until) throw new KvaultError(code, "Cannot go on");
          yield { event: { case: "delta", value: { text: WORDS[i] ?? "", tokenIds: [i] } } };
        }
        const usage = { newTokens: WORDS.length };
        yield { event: { case: "answer", value: { text: WORDS.join(""), usage, timings: { ttftMs: 1e9, totalMs: 1e9 } } } };
      },
    });
    const tokensOf = (events: readonly QueryResponse[]): number[] =>
      events.flatMap(({ event }) => (event.case === "delta" ? event.value.tokenIds : []));

    test.each<ErrorCode>(["UNREACHABLE", "ENGINE_DIED", "DRAINING", "CLOSED"])(
      "goes on elsewhere after %s, no token lost or twice",
      async (code) => {
        const stack = await startStack({ decode: [speaker(2, code), speaker(2, code), speaker()] });
        for (let i = 0; i < 8; i++) {
          const name = await created(stack, `Text ${i}.`);
          const startMs = Date.now();
          const events = await collect(stack.inference.query(ask(name)));
          expect(textOf(events)).toBe(WORDS.join(""));
          expect(tokensOf(events)).toEqual([0, 1, 2, 3, 4]);
          const end = events.at(-1)?.event;
          if (end?.case !== "answer") throw new Error("no answer");
          expect(end.value.usage?.newTokens).toBe(WORDS.length);
          if (end.value.moves > 0) expect(end.value.timings?.totalMs).toBeLessThanOrEqual(Date.now() - startMs);
        }
        const resumed = stack.decode[2]?.executes.filter(({ resume }) => resume !== undefined) ?? [];
        for (const { resume } of resumed) expect(resume).toMatchObject({ tokenIds: [0, 1], textUnits: 8 });
        expect(resumed.length).toBeGreaterThan(0);
      },
    );

    test("waits between two looks while every other worker is full, and goes on once one is not", async () => {
      let free = (): void => undefined;
      const held = new Promise<void>((resolve) => {
        free = resolve;
      });
      const worker: WorkerScript = {
        maxQueries: 1,
        async *execute(request, call) {
          if (request.question === "Hold.") await held;
          yield* speaker(request.resume === undefined && request.question !== "Hold." ? 2 : WORDS.length).execute?.(
            request,
            call,
          ) ?? [];
        },
      };
      let looks = 0;
      const warn = (_: unknown, text?: string): void => {
        if (text !== "answer moves to another worker") return;
        // As long as a look or two takes; a loop without a pause has made thousands of them by then.
        if (++looks === 3) free();
      };
      const log = { info: () => undefined, warn, error: () => undefined };
      const stack = await startStack({ decode: [worker, worker] }, { log });
      const name = await created(stack, "Text.");
      const holding = collect(stack.inference.query({ ...ask(name), question: "Hold." }));
      await expect.poll(() => stack.decode.flatMap(({ executes }) => executes).length).toBe(1);
      const startMs = Date.now();
      const events = await collect(stack.inference.query(ask(name)));
      expect(tokensOf(events)).toEqual([0, 1, 2, 3, 4]);
      expect(looks).toBeGreaterThanOrEqual(3);
      expect(Date.now() - startMs).toBeGreaterThanOrEqual(200);
      expect(looks).toBeLessThan(20);
      expect(tokensOf(await holding)).toEqual([0, 1, 2, 3, 4]);
    });

    test("goes on after every one of several deaths", async () => {
      let alive = 0;
      const short: WorkerScript = {
        async *execute(request, call) {
          alive = (request.resume?.tokenIds.length ?? 0) + 1;
          yield* speaker(alive, "ENGINE_DIED").execute?.(request, call) ?? [];
        },
      };
      const stack = await startStack({ decode: [short, short] });
      const events = await collect(stack.inference.query(ask(await created(stack, "Text."))));
      expect(tokensOf(events)).toEqual([0, 1, 2, 3, 4]);
      const end = events.at(-1)?.event;
      expect(end?.case === "answer" && end.value.moves).toBe(4);
    });

    test("a stream that ends without its answer is gone on with", async () => {
      const cut: WorkerScript = {
        async *execute(request, call) {
          if (request.resume !== undefined) yield* speaker().execute?.(request, call) ?? [];
          else yield { event: { case: "delta", value: { text: WORDS[0] ?? "", tokenIds: [0] } } };
        },
      };
      const stack = await startStack({ decode: [cut] });
      expect(textOf(await collect(stack.inference.query(ask(await created(stack, "Text.")))))).toBe(WORDS.join(""));
    });

    test("ends at its deadline when nobody can go on", async () => {
      const stack = await startStack({ decode: [speaker(2, "ENGINE_DIED")] });
      const name = await created(stack, "Text.");
      const answer = stack.inference.query(ask(name), { deadlineMs: Date.now() + 600 });
      await answer.next();
      expect((await failureOf(answer)).code).toBe("DEADLINE_EXCEEDED");
    });

    test("an error that is the query's own is not tried elsewhere", async () => {
      const stack = await startStack({ decode: [speaker(2, "TOKEN_LIMIT"), speaker(2, "TOKEN_LIMIT")] });
      const answer = stack.inference.query(ask(await created(stack, "Text.")));
      expect((await failureOf(answer)).code).toBe("TOKEN_LIMIT");
      expect(stack.decode.flatMap(({ executes }) => executes)).toHaveLength(1);
    });
  });

  describe("when there is more to do than can be done", () => {
    /** Answers when told to. */
    function holding(): { script: WorkerScript; finish: () => void; begun: () => number } {
      const finish = gate();
      let begun = 0;
      return {
        script: {
          async *execute(request) {
            begun++;
            await finish.passed;
            yield* quickAnswer(request);
          },
        },
        finish: () => finish.pass(),
        begun: () => begun,
      };
    }

    test("the gateway takes as many streams as it may and refuses the rest at once", async () => {
      const { script, finish, begun } = holding();
      const stack = await startStack({ decode: [script] }, { maxStreams: 2 });
      const name = await created(stack, "Text.");
      const running = [1, 2].map(() => collect(stack.inference.query(ask(name))));
      await expect.poll(begun).toBe(2);
      expect(await failureOf(stack.inference.query(ask(name)))).toMatchObject({ code: "NO_CAPACITY", retryable: true });
      finish();
      expect((await Promise.all(running)).map(textOf)).toEqual(["a b", "a b"]);
      expect(textOf(await collect(stack.inference.query(ask(name))))).toBe("a b");
    });

    test("a worker takes as many as it says; the rest go to others, then are refused", async () => {
      const [a, b] = [holding(), holding()];
      const stack = await startStack({ decode: [a.script, b.script].map((script) => ({ ...script, maxQueries: 2 })) });
      const name = await created(stack, "Text.");
      await expect.poll(async () => stack.decode.every(({ statuses }) => statuses() > 0)).toBe(true);
      const running: Promise<QueryResponse[]>[] = [];
      for (let i = 1; i <= 4; i++) {
        running.push(collect(stack.inference.query(ask(name))));
        await expect.poll(() => a.begun() + b.begun()).toBe(i);
      }
      expect([a.begun(), b.begun()]).toEqual([2, 2]);
      const refused = await failureOf(stack.inference.query(ask(name)));
      expect(refused).toMatchObject({ code: "NO_CAPACITY", retryable: true });
      expect(Number(refused.details["retryAfterMs"])).toBeGreaterThan(0);
      a.finish();
      b.finish();
      expect((await Promise.all(running)).map(textOf)).toEqual(["a b", "a b", "a b", "a b"]);
    });

    test("a worker that is fuller than it said sends the query on", async () => {
      const full: WorkerScript = {
        // biome-ignore lint/correctness/useYield: it refuses first
        async *execute() {
          throw new KvaultError("NO_CAPACITY", "Cannot take the query");
        },
      };
      const stack = await startStack({ decode: [full, {}, full] });
      const name = await created(stack, "Text.");
      expect(textOf(await collect(stack.inference.query(ask(name))))).toBe("a b");
      const none = await startStack({ decode: [full, full] });
      const other = await created(none, "Text.");
      expect((await failureOf(none.inference.query(ask(other)))).code).toBe("NO_CAPACITY");
      expect(none.decode.map(({ executes }) => executes.length)).toEqual([1, 1]);
    });

    test("an unknown service class is refused by name", async () => {
      const stack = await startStack();
      const name = await created(stack, "Text.");
      const answer = stack.inference.query({ ...ask(name), serviceClass: 9 as ServiceClass });
      expect(await failureOf(answer)).toMatchObject({ code: "INVALID_ARGUMENT", details: { field: "service_class" } });
    });
  });

  test("every question on a context goes to one worker, contexts spread over all", async () => {
    const stack = await startStack({ decode: [{}, {}, {}] });
    // Addresses are random: with so many, one worker in ten thousand runs has none.
    for (let i = 0; i < 24; i++) {
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
    expect(homes.size).toBe(24);
  });

  test("earlier turns travel to the worker with the question", async () => {
    const stack = await startStack();
    const name = await created(stack, "Text.");
    const turns = [
      { role: ChatMessage_Role.USER, content: "Who?" },
      { role: ChatMessage_Role.ASSISTANT, content: "Ann." },
    ];
    await collect(stack.inference.query({ ...ask(name, "When?"), turns }));
    expect(stack.decode[0]?.executes[0]).toMatchObject({ question: "When?", turns });
  });

  test.each<[string, { role: ChatMessage_Role; content: string }[]]>([
    ["turns", [{ role: ChatMessage_Role.USER, content: "Who?" }]],
    ["turns[0].role", [ChatMessage_Role.ASSISTANT, ChatMessage_Role.USER].map((role) => ({ role, content: "x" }))],
    ["turns[1].role", [ChatMessage_Role.USER, ChatMessage_Role.SYSTEM].map((role) => ({ role, content: "x" }))],
    ["turns", [ChatMessage_Role.USER, ChatMessage_Role.ASSISTANT].map((role) => ({ role, content: "x".repeat(2 ** 17 + 1) }))],
  ])("refuses bad %s (%#)", async (field, turns) => {
    const stack = await startStack();
    const name = await created(stack, "Text.");
    const error = await failureOf(stack.inference.query({ ...ask(name), turns }));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", details: { field } });
  });

  test("an inline conversation that ends with the question needs no other", async () => {
    const stack = await startStack();
    const messages = [{ role: ChatMessage_Role.USER, content: "Who?" }];
    const inline = { model: MODEL, content: { content: { case: "chat", value: { messages } } as const } };
    expect(textOf(await collect(stack.inference.query({ source: { case: "inline", value: inline }, question: "" })))).toBe("a b");
    const text = { model: MODEL, content: { content: { case: "text", value: "Text." } as const } };
    const error = await failureOf(stack.inference.query({ source: { case: "inline", value: text }, question: "" }));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", details: { field: "question" } });
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
