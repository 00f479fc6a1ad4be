/** OpenAI's own client against the HTTP front of a gateway with real sockets and scripted workers. */
import { setTimeout as sleep } from "node:timers/promises";
import { KvaultError } from "@kvault/core";
import { gate, untilAborted } from "@kvault/core/testing";
import { ChatMessage_Role, FinishReason } from "@kvault/rpc";
import OpenAI, { APIError, AuthenticationError, BadRequestError, NotFoundError, RateLimitError } from "openai";
import { afterEach, describe, expect, test } from "vitest";
import type { WorkerScript } from "../testing/fake-worker.ts";
import { RELOADED_MS, startSecureStack } from "../testing/secure-stack.ts";
import { closeAll, created, MODEL, type Stack, startStack } from "../testing/stack.ts";

afterEach(closeAll);

const HTTP = { httpAddress: "127.0.0.1:0" } as const;
const ASK = [{ role: "user", content: "What?" }] as const;

/** `body` with the field that OpenAI's types do not know. */
type Body = OpenAI.ChatCompletionCreateParamsNonStreaming;
function on(context: string, more: Partial<Body> = {}): Body {
  return { model: MODEL, messages: [...ASK], ...more, context } as Body;
}

function clientOf({ gateway }: Stack, apiKey = "none", maxRetries = 0): OpenAI {
  return new OpenAI({ baseURL: `http://${gateway.httpAddress}/v1`, apiKey, maxRetries });
}

async function failure(promise: PromiseLike<unknown>): Promise<APIError> {
  const error = await Promise.resolve(promise).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof APIError) return error;
  throw new Error(`expected an APIError, found ${String(error)}`);
}

const answering = (value: object): WorkerScript => ({
  async *execute() {
    yield { event: { case: "delta", value: { text: "a ", tokenIds: [1] } } };
    yield { event: { case: "answer", value: { text: "a b", ...value } } };
  },
});

describe("OpenAI's client", () => {
  test("gets a whole answer, its usage and where the context came from", async () => {
    const usage = { contextTokens: 100, questionTokens: 20, newTokens: 2, keptPairs: 30n };
    const stack = await startStack({ decode: [answering({ usage, finishReason: FinishReason.END })] }, HTTP);
    const context = await created(stack, "Text.");
    const { data, request_id } = await clientOf(stack).chat.completions.create(on(context)).withResponse();
    expect(data).toMatchObject({
      id: `chatcmpl-${request_id}`,
      object: "chat.completion",
      model: MODEL,
      choices: [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: "a b" } }],
      usage: { prompt_tokens: 120, completion_tokens: 2, total_tokens: 122, prompt_tokens_details: { cached_tokens: 100 } },
      kvault: { kept_pairs: 30, cache: { tier: "unspecified" } },
    });
    expect(Math.abs(data.created - Date.now() / 1000)).toBeLessThan(60);
  });

  test("gets a stream: the role, the pieces, the reason, the usage when asked for", async () => {
    const usage = { contextTokens: 100, questionTokens: 20, newTokens: 2 };
    const stack = await startStack({ decode: [answering({ usage, finishReason: FinishReason.MAX_TOKENS })] }, HTTP);
    const context = await created(stack, "Text.");
    const body = { ...on(context), stream: true as const, stream_options: { include_usage: true } };
    const chunks = [];
    for await (const chunk of await clientOf(stack).chat.completions.create(body)) chunks.push(chunk);
    expect(chunks.map(({ choices }) => choices[0]?.delta)).toEqual([
      { role: "assistant", content: "", refusal: null },
      { content: "a " },
      {},
      undefined,
    ]);
    expect(chunks.map(({ choices }) => choices[0]?.finish_reason)).toEqual([null, null, "length", undefined]);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: 122 } });
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
  });

  test("its stream helper puts the pieces together", async () => {
    const stack = await startStack({}, HTTP);
    const context = await created(stack, "Text.");
    const stream = clientOf(stack).chat.completions.stream(on(context) as never);
    expect(await stream.finalContent()).toBe("a b");
  });

  test("sampling, limits and stop strings reach the worker", async () => {
    const stack = await startStack({}, HTTP);
    const context = await created(stack, "Text.");
    const { create } = clientOf(stack).chat.completions;
    const ask = create.bind(clientOf(stack).chat.completions);
    await ask(on(context, { temperature: 0.5, top_p: 0.9, seed: 7, max_tokens: 3, stop: "." }));
    await ask(on(context, { max_completion_tokens: 4, stop: [".", "!"], top_p: 1 }));
    expect(stack.decode[0]?.executes.map(({ sampling, limits }) => ({ ...sampling, ...limits }))).toMatchObject([
      { temperature: 0.5, topP: 0.9, seed: 7n, maxTokens: 3, stop: ["."] },
      { temperature: 0, topP: 0, maxTokens: 4, stop: [".", "!"] },
    ]);
  });

  test("a conversation about a context: instructions go with the next question, turns before it", async () => {
    const stack = await startStack({}, HTTP);
    const context = await created(stack, "Text.");
    await clientOf(stack).chat.completions.create(
      on(context, {
        messages: [
          { role: "system", content: "Be brief." },
          { role: "user", content: [{ type: "text", text: "Who?" }] },
          { role: "assistant", content: "Ann." },
          { role: "user", content: "When?" },
        ],
      }),
    );
    expect(stack.decode[0]?.executes[0]).toMatchObject({
      question: "When?",
      turns: [
        { role: ChatMessage_Role.USER, content: "\n\nBe brief.\n\nWho?" },
        { role: ChatMessage_Role.ASSISTANT, content: "Ann." },
      ],
    });
  });

  test("a context may be named as the model, or by its id alone", async () => {
    const stack = await startStack({}, HTTP);
    const context = await created(stack, "Text.");
    const { completions } = clientOf(stack).chat;
    const answers = [
      await completions.create({ model: context, messages: [...ASK] }),
      await completions.create(on(context.replace("contexts/", ""))),
    ];
    expect(answers.map(({ model }) => model)).toEqual([MODEL, MODEL]);
  });

  test("messages without a context are read for this request alone", async () => {
    const stack = await startStack({}, HTTP);
    const answer = await clientOf(stack).chat.completions.create({ model: MODEL, messages: [...ASK] });
    expect(answer.choices[0]?.message.content).toBe("a b");
    expect(stack.decode[0]?.executes[0]).toMatchObject({
      source: { case: "inline", value: { content: { content: { case: "chat", value: { messages: [{ content: "What?" }] } } } } },
    });
  });

  test("lists models and gets one", async () => {
    const stack = await startStack({}, HTTP);
    const client = clientOf(stack);
    const names = [];
    for await (const { id } of client.models.list()) names.push(id);
    expect(names).toContain(MODEL);
    expect(await client.models.retrieve(MODEL)).toMatchObject({ id: MODEL, object: "model", owned_by: "kvault" });
    expect(await failure(client.models.retrieve("nobody"))).toMatchObject({ status: 404, code: "MODEL_NOT_FOUND" });
  });

  test("leaving a stream, and aborting a request, reach the worker", async () => {
    for (const leave of ["break", "abort"] as const) {
      const reason = gate<unknown>();
      const stack = await startStack(
        {
          decode: [
            {
              async *execute(_, { signal }) {
                yield { event: { case: "delta", value: { text: "a", tokenIds: [1] } } };
                reason.pass(await untilAborted(signal));
              },
            },
          ],
        },
        HTTP,
      );
      const context = await created(stack, "Text.");
      if (leave === "break") {
        const body = { ...on(context), stream: true as const };
        for await (const { choices } of await clientOf(stack).chat.completions.create(body)) if (choices[0]?.delta.content) break;
      } else {
        const controller = new AbortController();
        const asked = clientOf(stack).chat.completions.create(on(context), { signal: controller.signal });
        await expect.poll(() => stack.decode[0]?.executes.length).toBe(1);
        controller.abort();
        await expect(asked).rejects.toThrow(OpenAI.APIUserAbortError);
      }
      expect(await reason.passed).toMatchObject({ code: "CANCELLED" });
      await closeAll();
    }
  });

  test("an error in the middle of a stream ends it as an error", async () => {
    const stack = await startStack(
      {
        decode: [
          {
            async *execute() {
              yield { event: { case: "delta", value: { text: "a", tokenIds: [1] } } };
              throw new KvaultError("TOKEN_LIMIT", "Cannot go on: no room");
            },
          },
        ],
      },
      HTTP,
    );
    const context = await created(stack, "Text.");
    const pieces: string[] = [];
    const reading = (async () => {
      for await (const { choices } of await clientOf(stack).chat.completions.create({ ...on(context), stream: true }))
        pieces.push(choices[0]?.delta.content ?? "");
    })();
    expect(await failure(reading)).toMatchObject({ code: "TOKEN_LIMIT" });
    expect(pieces.join("")).toBe("a");
  });

  test("an error before the first piece of a stream has its status", async () => {
    const stack = await startStack({}, HTTP);
    const gone = clientOf(stack).chat.completions.create({ ...on(`contexts/c${"0".repeat(32)}`), stream: true });
    const error = await failure(gone);
    expect(error).toBeInstanceOf(NotFoundError);
    expect(error.code).toBe("CONTEXT_NOT_FOUND");
  });

  test.each<[string, object]>([
    ["temperature", { temperature: "hot" }],
    ["sampling.temperature", { temperature: 3 }],
    ["messages", { messages: [] }],
    ["messages", { messages: [{ role: "assistant", content: "x" }] }],
    ["messages.0.role", { messages: [{ role: "tool", content: "x" }] }],
    ["messages.0.content", { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }] }],
    ["n", { n: 2 }],
    ["tools", { tools: [{ type: "function", function: { name: "f" } }] }],
    ["response_format.type", { response_format: { type: "json_object" } }],
    ["frequency_penalty", { frequency_penalty: 1 }],
    ["seed", { seed: -1 }],
    ["limits.stop", { stop: Array(17).fill("x") }],
    ["limits.max_tokens", { max_tokens: 5_000 }],
    ["no_such_field", { no_such_field: 1 }],
  ])("is told that %s is at fault (%#)", async (param, bad) => {
    const stack = await startStack({}, HTTP);
    const context = await created(stack, "Text.");
    const error = await failure(clientOf(stack).chat.completions.create({ ...on(context), ...bad } as Body));
    expect(error).toBeInstanceOf(BadRequestError);
    expect(error.param).toBe(param);
    expect(stack.decode[0]?.executes).toEqual([]);
  });

  test("naming another model than the context's is refused", async () => {
    const stack = await startStack({}, HTTP);
    const context = await created(stack, "Text.");
    const error = await failure(clientOf(stack).chat.completions.create(on(context, { model: "smollm2-135m" })));
    expect(error).toMatchObject({ status: 422, code: "INCOMPATIBLE_MODEL", param: "model" });
  });

  test("overload is 429 with the time to come back after, which the client keeps", async () => {
    let refusals = 2;
    const stack = await startStack(
      {
        decode: [
          {
            async *execute() {
              if (refusals-- > 0)
                throw new KvaultError("NO_CAPACITY", "Cannot take the query", { details: { retryAfterMs: 20 } });
              yield { event: { case: "answer", value: { text: "late" } } };
            },
          },
        ],
      },
      HTTP,
    );
    const context = await created(stack, "Text.");
    const refused = await failure(clientOf(stack).chat.completions.create(on(context)));
    expect(refused).toBeInstanceOf(RateLimitError);
    expect(Number(refused.headers?.get("retry-after-ms"))).toBeGreaterThan(0);
    const answer = await clientOf(stack, "none", 50).chat.completions.create(on(context));
    expect(answer.choices[0]?.message.content).toBe("late");
  });

  test("what no retry mends is not retried", async () => {
    const stack = await startStack({}, HTTP);
    let requests = 0;
    const counting: typeof fetch = (...args) => {
      requests++;
      return fetch(...args);
    };
    const client = new OpenAI({
      baseURL: `http://${stack.gateway.httpAddress}/v1`,
      apiKey: "none",
      maxRetries: 3,
      fetch: counting,
    });
    expect((await failure(client.chat.completions.create(on(`contexts/c${"0".repeat(32)}`)))).status).toBe(404);
    expect(requests).toBe(1);
  });

  test("its key is a KVault token: without one 401, and every tenant sees its own contexts", async () => {
    const stack = await startSecureStack({}, HTTP);
    const acme = await stack.issue("acme");
    const other = await stack.issue("other");
    await sleep(RELOADED_MS);
    const refused = await failure(clientOf(stack, "kvt_wrong").models.list());
    expect(refused).toBeInstanceOf(AuthenticationError);
    expect(refused.code).toBe("UNAUTHENTICATED");
    const mine = stack.as(acme.token);
    const context = await created({ ...stack, ...mine }, "Text.");
    expect((await clientOf(stack, acme.token).chat.completions.create(on(context))).choices).toHaveLength(1);
    expect((await failure(clientOf(stack, other.token).chat.completions.create(on(context)))).code).toBe("CONTEXT_NOT_FOUND");
    const audited = (await stack.audit()).map(({ rpc, tenant, outcome }) => `${rpc} ${tenant} ${outcome}`);
    expect(audited).toContain("/kvault.v1.Inference/Query acme OK");
    expect(audited).toContain("/kvault.v1.Models/ListModels  UNAUTHENTICATED");
  });
});
