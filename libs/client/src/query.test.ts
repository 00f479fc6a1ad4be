import { KvaultError } from "@kvault/core";
import { FinishReason, type QueryRequest } from "@kvault/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { type ClientOptions, type KvaultClient, openClient } from "./client.ts";
import { busy, lost, type Script, startScripted } from "./testing/scripted-gateway.ts";

const CONTEXT = `contexts/c${"0".repeat(32)}`;
const WORDS = ["The", " boat", " is", " green", "."];
const QUICK = { retry: { initialMs: 1, maxMs: 5 } };

type Event = { event: { case: "delta"; value: { text: string; tokenIds: number[] } } | { case: "answer"; value: object } };

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function connected(query: NonNullable<Script["inference"]>["query"], options: ClientOptions = QUICK) {
  const server = await startScripted({ inference: query === undefined ? {} : { query } });
  closing.push(() => server.close({ drainMs: 0 }));
  return opened(server.address, options);
}

function opened(address: string | readonly string[], options: ClientOptions = QUICK): KvaultClient {
  const client = openClient(address, options);
  closing.push(() => client.close());
  return client;
}

const delta = (text: string, ...tokenIds: number[]): Event => ({ event: { case: "delta", value: { text, tokenIds } } });
const answer = (text: string): Event => ({
  event: { case: "answer", value: { text, finishReason: FinishReason.END, usage: { newTokens: 5 }, seed: 7n } },
});

/** `words` one by one, then the answer; `fail` is thrown before word `at`. */
async function* speak(words: readonly string[], at = Number.POSITIVE_INFINITY, fail: () => Error = lost) {
  for (const [i, word] of words.entries()) {
    if (i === at) throw fail();
    yield delta(word, i);
  }
  yield answer(words.join(""));
}

async function read(client: KvaultClient, settings = {}) {
  const stream = client.query(CONTEXT, "What colour is the boat?", settings);
  const texts: string[] = [];
  const tokenIds: number[] = [];
  for (;;) {
    const { done, value } = await stream.next();
    if (done === true) return { texts, tokenIds, answer: value };
    texts.push(value.text);
    tokenIds.push(...value.tokenIds);
  }
}

async function refusal(work: Promise<unknown>): Promise<KvaultError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof KvaultError) return error;
  throw error ?? new Error("not refused");
}

describe("query()", () => {
  test("streams pieces and ends with the answer in plain values", async () => {
    const client = await connected(() => speak(WORDS));
    const { texts, tokenIds, answer: whole } = await read(client);
    expect(texts).toEqual(WORDS);
    expect(tokenIds).toEqual([0, 1, 2, 3, 4]);
    expect(whole).toMatchObject({ text: "The boat is green.", finishReason: "END", seed: 7, resumes: 0, moves: 0 });
    expect(whole.usage).toEqual({ contextTokens: 0, keptPairs: 0, questionTokens: 0, newTokens: 5 });
  });

  test("asks nothing before it is read", async () => {
    let asked = 0;
    const client = await connected(() => {
      asked += 1;
      return speak(WORDS);
    });
    const stream = client.query(CONTEXT, "What?");
    expect(asked).toBe(0);
    expect(await stream.answer()).toMatchObject({ text: WORDS.join("") });
    expect(asked).toBe(1);
    await expect(stream.answer()).rejects.toThrow(TypeError);
  });

  test("tries again before the first piece, not sooner than the server asked", async () => {
    const times: number[] = [];
    const client = await connected(() => {
      times.push(performance.now());
      return times.length < 3 ? speak(WORDS, 0, () => busy(60)) : speak(WORDS);
    });
    expect((await read(client)).texts).toEqual(WORDS);
    expect(times).toHaveLength(3);
    for (const [i, time] of times.slice(1).entries()) expect(time - (times[i] ?? 0)).toBeGreaterThan(55);
  });

  test("gives up after the attempts of its policy, with the server's error", async () => {
    let asked = 0;
    const client = await connected(
      () => {
        asked += 1;
        return speak(WORDS, 0, () => busy(1));
      },
      { retry: { maxAttempts: 3, initialMs: 1, maxMs: 2 } },
    );
    expect(await refusal(read(client))).toMatchObject({ code: "NO_CAPACITY", retryable: true });
    expect(asked).toBe(3);
  });

  test("does not begin a wait that its deadline, or its policy, does not allow", async () => {
    let asked = 0;
    const client = await connected(() => {
      asked += 1;
      return speak(WORDS, 0, () => busy(asked === 1 ? 5_000 : 60_000));
    });
    expect(await refusal(read(client, { timeoutMs: 1_000 }))).toMatchObject({ code: "NO_CAPACITY" });
    expect(await refusal(read(client))).toMatchObject({ code: "NO_CAPACITY", details: { retryAfterMs: "60000" } });
    expect(asked).toBe(2);
  });

  test("does not try again what will fail again", async () => {
    let asked = 0;
    const client = await connected(() => {
      asked += 1;
      return speak(WORDS, 0, () => new KvaultError("CONTEXT_NOT_READY", "Cannot answer yet"));
    });
    expect(await refusal(read(client))).toMatchObject({ code: "CONTEXT_NOT_READY", retryable: true });
    expect(asked).toBe(1);
  });

  test("goes on after a lost gateway: the same question, the same seed, only what is missing", async () => {
    const asked: QueryRequest[] = [];
    const client = await connected((request) => {
      asked.push(request);
      // The second time what comes is cut differently.
      return asked.length === 1 ? speak(WORDS, 3) : again();
    });
    async function* again() {
      yield delta("The bo", 0);
      yield delta("at is gr", 1, 2);
      yield delta("een.", 3, 4);
      yield answer("The boat is green.");
    }
    const { texts, tokenIds, answer: whole } = await read(client, { temperature: 1 });
    expect(texts).toEqual(["The", " boat", " is", " gr", "een."]);
    expect(tokenIds).toEqual([0, 1, 2, 3, 4]);
    expect(whole.resumes).toBe(1);
    expect(asked[0]?.sampling?.seed).toBeGreaterThan(0n);
    expect(asked[1]?.sampling).toEqual(asked[0]?.sampling);
  });

  test.each([
    ["another word", ["The", " ship", " is", " green", "."]],
    ["an earlier end", ["The"]],
  ])("never joins two answers: %s is an error", async (_, second) => {
    let asked = 0;
    const client = await connected(() => {
      asked += 1;
      return asked === 1 ? speak(WORDS, 2) : speak(second);
    });
    expect(await refusal(read(client))).toMatchObject({
      code: "UNREACHABLE",
      retryable: false,
      details: { resumed: "diverged", deliveredTokens: 2 },
    });
  });

  test("an answer that breaks at every piece is resumed a bounded number of times", async () => {
    let asked = 0;
    const client = await connected(() => {
      asked += 1;
      return speak(WORDS, asked);
    });
    expect(await refusal(read(client))).toMatchObject({ code: "UNREACHABLE" });
    expect(asked).toBe(4);
  });

  test("resume: false leaves a broken answer broken", async () => {
    let asked = 0;
    const client = await connected(() => {
      asked += 1;
      return speak(WORDS, 2);
    });
    expect(await refusal(read(client, { resume: false }))).toMatchObject({ code: "UNREACHABLE" });
    expect(asked).toBe(1);
  });

  test("goes on at another gateway when its own is gone", async () => {
    const first = await startScripted({ inference: { query: () => speak(WORDS, 2) } });
    const second = await startScripted({ inference: { query: () => speak(WORDS) } });
    closing.push(() => second.close({ drainMs: 0 }));
    const client = opened([first.address, second.address]);
    const stream = client.query(CONTEXT, "What?");
    expect((await stream.next()).value).toMatchObject({ text: "The" });
    await first.close({ drainMs: 0 });
    expect(await stream.answer()).toMatchObject({ text: WORDS.join(""), resumes: 1 });
    expect(client.address).toBe(second.address);
  });

  test("an aborted signal ends the call on both sides with CANCELLED, a passed deadline with DEADLINE_EXCEEDED", async () => {
    const ends: string[] = [];
    const client = await connected(async function* (_request, call) {
      yield delta("The", 0);
      await new Promise<void>((resolve) => {
        call.signal.addEventListener("abort", () => {
          ends.push((call.signal.reason as KvaultError).code);
          resolve();
        });
      });
    });
    const abort = new AbortController();
    const stream = client.query(CONTEXT, "What?", { signal: abort.signal });
    await stream.next();
    abort.abort();
    expect(await refusal(stream.answer())).toMatchObject({ code: "CANCELLED", name: "AbortError" });
    expect(await refusal(client.query(CONTEXT, "What?", { timeoutMs: 100 }).answer())).toMatchObject({
      code: "DEADLINE_EXCEEDED",
    });
    await expect.poll(() => ends).toHaveLength(2);
  });

  test("an abort during a wait between tries does not wait", async () => {
    const client = await connected(() => speak(WORDS, 0, () => busy(20_000)));
    const startMs = performance.now();
    const error = await refusal(client.query(CONTEXT, "What?", { signal: AbortSignal.timeout(50) }).answer());
    expect(error).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect(performance.now() - startMs).toBeLessThan(5_000);
  });

  test("leaving the loop cancels the call", async () => {
    let ended = false;
    const client = await connected(async function* () {
      try {
        for (;;) {
          yield delta("again ", 1);
          await new Promise((resolve) => setImmediate(resolve));
        }
      } finally {
        ended = true;
      }
    });
    for await (const { text } of client.query(CONTEXT, "What?")) {
      expect(text).toContain("again");
      break;
    }
    await expect.poll(() => ended).toBe(true);
  });
});

describe("conversation()", () => {
  test("sends every question with the turns before it; a broken one leaves no turn", async () => {
    const asked: QueryRequest[] = [];
    const client = await connected((request) => {
      asked.push(request);
      return asked.length === 2 ? speak(WORDS, 1, () => new KvaultError("INTERNAL", "broken")) : speak(WORDS);
    });
    const chat = client.conversation(CONTEXT, { maxTokens: 9 });
    await chat.ask("one").answer();
    await expect(chat.ask("two").answer()).rejects.toThrow();
    await chat.ask("three").answer();
    expect(asked.map(({ question, turns, limits }) => [question, turns.length, limits?.maxTokens])).toEqual([
      ["one", 0, 9],
      ["two", 2, 9],
      ["three", 2, 9],
    ]);
    expect(chat.turns.map(({ role, content }) => `${role}: ${content}`)).toEqual([
      "user: one",
      "assistant: The boat is green.",
      "user: three",
      "assistant: The boat is green.",
    ]);
  });

  test("one question at a time", async () => {
    const client = await connected(() => speak(WORDS));
    const chat = client.conversation(CONTEXT);
    const first = chat.ask("one");
    await first.next();
    await expect(chat.ask("two").answer()).rejects.toThrow(TypeError);
    await first.answer();
    await expect(chat.ask("two").answer()).resolves.toMatchObject({ finishReason: "END" });
  });
});
