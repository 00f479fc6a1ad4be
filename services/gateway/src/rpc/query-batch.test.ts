import { KvaultError } from "@kvault/core";
import { collect, failureOf, gate, untilAborted } from "@kvault/core/testing";
import { fromRpcStatus } from "@kvault/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { quickAnswer } from "../testing/fake-worker.ts";
import { closeAll, created, startStack } from "../testing/stack.ts";

afterEach(closeAll);

describe("QueryBatch", () => {
  test("asks all questions at once and tells their answers apart", async () => {
    let running = 0;
    let most = 0;
    const all = gate();
    const stack = await startStack({
      decode: [
        {
          async *execute(request) {
            most = Math.max(most, ++running);
            if (running === 8) all.pass();
            await all.passed;
            yield { event: { case: "delta", value: { text: request.question, tokenIds: [1] } } };
            yield { event: { case: "answer", value: { text: request.question } } };
          },
        },
      ],
    });
    const name = await created(stack, "Text.");
    const questions = Array.from({ length: 8 }, (_, i) => ({ question: `q${i}` }));
    const events = await collect(stack.inference.queryBatch({ context: name, questions }));
    expect(most).toBe(8);
    for (const [i, { question }] of questions.entries()) {
      const mine = events.filter(({ index }) => index === i).map(({ event }) => event);
      expect(mine.map(({ case: kind }) => kind)).toEqual(["delta", "answer"]);
      expect(mine[1]).toMatchObject({ value: { text: question } });
    }
  });

  test("one question's failure does not end the others", async () => {
    const stack = await startStack({
      decode: [
        {
          async *execute(request) {
            if (request.question === "bad") throw new KvaultError("TOKEN_LIMIT", "Cannot answer: too long");
            yield* quickAnswer(request);
          },
        },
      ],
    });
    const name = await created(stack, "Text.");
    const events = await collect(
      stack.inference.queryBatch({ context: name, questions: [{ question: "good" }, { question: "bad" }, { question: "good" }] }),
    );
    const error = events.find(({ event }) => event.case === "error");
    expect(error?.index).toBe(1);
    expect(error?.event.case === "error" && fromRpcStatus(error.event.value)).toMatchObject({ code: "TOKEN_LIMIT" });
    expect(
      events
        .filter(({ event }) => event.case === "answer")
        .map(({ index }) => index)
        .sort(),
    ).toEqual([0, 2]);
  });

  test("leaving early cancels every question at the worker", async () => {
    let aborted = 0;
    const all = gate();
    const stack = await startStack({
      decode: [
        {
          async *execute(_, { signal }) {
            yield { event: { case: "delta", value: { text: "a", tokenIds: [1] } } };
            await untilAborted(signal);
            if (++aborted === 3) all.pass();
          },
        },
      ],
    });
    const name = await created(stack, "Text.");
    let deltas = 0;
    for await (const _ of stack.inference.queryBatch({ context: name, questions: Array(3).fill({ question: "q" }) }))
      if (++deltas === 3) break;
    await all.passed;
    expect(aborted).toBe(3);
  });

  test.each<[string, object]>([
    ["questions", { questions: [] }],
    ["questions", { questions: Array(65).fill({ question: "q" }) }],
    ["questions[1].question", { questions: [{ question: "q" }, { question: "" }] }],
    ["questions[0].limits.max_tokens", { questions: [{ question: "q", limits: { maxTokens: 9999 } }] }],
    ["context", { context: "x", questions: [{ question: "q" }] }],
  ])("refuses a bad %s (%#)", async (field, bad) => {
    const stack = await startStack();
    const name = await created(stack, "Text.");
    expect(await failureOf(stack.inference.queryBatch({ context: name, ...bad }))).toMatchObject({
      code: "INVALID_ARGUMENT",
      details: { field },
    });
  });
});
