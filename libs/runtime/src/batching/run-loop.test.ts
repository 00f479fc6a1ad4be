import { keepRows, resolveSpec, selectPairs } from "@kvault/compression";
import { describe, expect, test } from "vitest";
import { gatherScoreSource, inputsOf } from "../engine/score-source.ts";
import type { ModelRunner, ResidentContext } from "../model-runner.ts";
import { GREEDY } from "../sampling/sampler.ts";
import { createToyRunner, makeToyResident, TOY_CONFIG, type ToyHooks, toyAnswer } from "../testing/toy-runner.ts";
import { type Answer, createAnswer } from "../text/answer.ts";
import { type AnswerRequest, RunLoop } from "./run-loop.ts";

async function contextOf(runner: ModelRunner, text: string): Promise<ResidentContext> {
  const prefilled = await runner.prefill(runner.prompts.context({ text }));
  const plan = resolveSpec("none");
  const { source } = await gatherScoreSource(inputsOf(plan), new RunLoop(), runner, prefilled, {});
  const selection = selectPairs(plan, source);
  const layers = Array.from({ length: TOY_CONFIG.numLayers }, (_, l) => keepRows(selection, l, prefilled.layer(l)));
  return makeToyResident(prefilled.seqLen, layers);
}

async function bench(hooks: ToyHooks = {}) {
  const runner = createToyRunner(hooks);
  const context = await contextOf(runner, "a text that everybody asks about");
  const loop = new RunLoop();
  const ask = (
    question: string,
    changes: Partial<AnswerRequest> = {},
  ): { answer: Answer; end: ReturnType<RunLoop["answer"]> } => {
    const answer = createAnswer({ tokens: runner.tokens, sampling: GREEDY, stop: [], maxTokens: 500 });
    const end = loop.answer({
      runner,
      context,
      questionIds: Array.from(runner.prompts.question(question)),
      answer,
      onStep: () => undefined,
      signal: new AbortController().signal,
      ...changes,
    });
    end.catch(() => undefined);
    return { answer, end };
  };
  return { runner, context, loop, ask };
}

describe("RunLoop", () => {
  test("answers questions asked together in runs that they share", async () => {
    let runs = 0;
    const { context, ask } = await bench({ onStepRun: () => void runs++ });
    const asked = ["one?", "two?", "three?"].map((question) => ({ question, ...ask(question) }));
    for (const { question, answer, end } of asked) {
      expect(await end).toMatchObject({ finishReason: "end" });
      expect(answer.text).toBe(toyAnswer(context, question));
    }
    expect(runs).toBeLessThan(2 + Math.max(...asked.map(({ answer }) => answer.newTokens)) + 1);
  });

  test("a sequence aborted in the middle of its run leaves after it, and the others go on", async () => {
    const controller = new AbortController();
    let runs = 0;
    const { context, ask, loop } = await bench({
      onStepRun: async () => {
        if (++runs === 5) {
          await Promise.resolve();
          controller.abort();
        }
      },
    });
    const stays = ask("stays");
    const leaves = ask("leaves", { signal: controller.signal });
    await expect(leaves.end).rejects.toMatchObject({ code: "CANCELLED" });
    await stays.end;
    expect(stays.answer.text).toBe(toyAnswer(context, "stays"));
    expect(loop.size).toBe(0);
  });

  test("a question longer than a chunk is read in several runs and answered the same", async () => {
    const reads: number[] = [];
    const { context, ask } = await bench({ onStepRun: ([tokens]) => void (tokens > 1 && reads.push(tokens)) });
    const question = "long ".repeat(150);
    const { answer, end } = ask(question);
    await end;
    expect(answer.text.startsWith(toyAnswer(context, question).slice(0, 400))).toBe(true);
    expect(reads).toEqual([256, 256, 239]);
  });

  test("one sequence whose logits are broken fails alone", async () => {
    const { context, ask } = await bench();
    const broken: Answer = {
      text: "",
      newTokens: 0,
      finishReason: undefined,
      step: () => {
        throw new Error("logits are not numbers");
      },
    };
    const fails = ask("fails", { answer: broken });
    const fine = ask("fine");
    await expect(fails.end).rejects.toThrow("not numbers");
    await fine.end;
    expect(fine.answer.text).toBe(toyAnswer(context, "fine"));
  });

  test("long work waits for its turn between runs and can be cancelled while it waits", async () => {
    const { ask, loop, runner } = await bench({ onStepRun: () => new Promise((resolve) => setTimeout(resolve, 1)) });
    const controller = new AbortController();
    const decoding = ask("somebody who decodes meanwhile");
    const prompt = runner.prompts.context({ text: "x".repeat(2_000) });
    let chunks = 0;
    const work = loop.longWork(
      (options) =>
        runner.prefill(prompt, {
          ...options,
          onProgress: (done, total) => {
            options.onProgress(done, total);
            if (++chunks === 3) controller.abort();
          },
        }),
      { signal: controller.signal },
    );
    await expect(work).rejects.toMatchObject({ code: "CANCELLED" });
    expect(chunks).toBe(3);
    await decoding.end;
  });

  test("long work that fails gives its turn back", async () => {
    const { ask, loop } = await bench();
    await expect(loop.longWork(() => Promise.reject(new Error("broken")), {})).rejects.toThrow("broken");
    expect(await ask("still there?").end).toMatchObject({ finishReason: "end" });
  });

  test("close() fails everything that waits", async () => {
    const { ask, loop } = await bench();
    const asked = [ask("one"), ask("two")];
    loop.close();
    for (const { end } of asked) await expect(end).rejects.toMatchObject({ code: "CLOSED" });
    expect(loop.size).toBe(0);
  });

  test("refuses a question of no tokens and a signal already aborted", async () => {
    const { ask } = await bench();
    await expect(ask("x", { questionIds: [] }).end).rejects.toThrow(RangeError);
    await expect(ask("x", { signal: AbortSignal.abort() }).end).rejects.toMatchObject({ code: "CANCELLED" });
  });
});
