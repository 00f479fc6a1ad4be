/**
 * `kvault query`: questions on a stored context.
 *
 * @module
 */
import type { Answer, KvaultClient } from "@kvault/client";
import { invalidArgument } from "@kvault/core";
import { type Command, InvalidArgumentError } from "commander";
import { askQuestion } from "../ask-question.ts";
import { withGateway } from "../gateway-client.ts";
import { type ConnectionFlags, collect, maxTokensOption, positiveInteger, withConnectionFlags } from "../options.ts";
import { readSources } from "../sources/read-sources.ts";
import { ReportedFailure } from "../terminal/failure.ts";
import { formatSeconds } from "../terminal/units.ts";
import { type Call, define, type Host, runs } from "./command.ts";

interface QueryOptions extends ConnectionFlags {
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP?: number;
  readonly topK?: number;
  readonly seed?: number;
  readonly stop?: readonly string[];
  readonly recompute?: string;
  readonly requestId?: string;
}

export function addQuery(program: Command, host: Host): void {
  const query = define(program, {
    usage: "query <context> <question...>",
    summary: "Ask a stored context",
    description: `Answers from the stored KV cache: the text is not read again. One question streams its answer;
several are decoded together, over one reading of the cache.`,
    examples: [
      ['kvault query c0123… "Who signed it?"', "streams the answer"],
      ['kvault query c0123… "Who signed it?" "When?" --json', "two questions at once, one line of JSON each"],
      ['kvault query c0123… "Who signed it?" --recompute contract.txt', "reads the text again if the record cannot be had"],
      ['kvault query c0123… "Retell it" --temperature 0.8 --seed 7', "drawn, but the same every time"],
    ],
  })
    .addOption(maxTokensOption())
    .option("--temperature <t>", "0 takes the likeliest token every time", nonNegative, 0)
    .option("--top-p <p>", "draw from the smallest set of tokens with this probability", nonNegative)
    .option("--top-k <k>", "draw from this many likeliest tokens", positiveInteger)
    .option("--seed <n>", "same seed, same answer", positiveInteger)
    .option("--stop <text>", "end before this text, may be repeated", collect)
    .option(
      "--recompute <path>",
      "the context's text (file, folder or page), read again if its record is lost or its store is down",
    )
    .option("--request-id <id>", "name the request, for `kvault explain` and the logs");
  withConnectionFlags(query);
  runs<QueryOptions>(query, host, async (call, options, context = "", ...questions) => {
    if (questions.some((question) => question.trim() === ""))
      throw invalidArgument("question", "Cannot ask an empty question: write one");
    await withGateway(options, (client) =>
      questions.length === 1
        ? streamOne(client, call, options, context, questions[0] ?? "")
        : askTogether(client, call, options, context, questions),
    );
  });
}

/** What the flags say of every question; the text that was read is for a record that cannot be had. */
async function settingsOf(options: QueryOptions, signal: AbortSignal) {
  const { maxTokens, temperature, topP, topK, seed, stop, recompute, requestId } = options;
  const text = recompute === undefined ? undefined : (await readSources([recompute], { signal })).text;
  return {
    signal,
    maxTokens,
    temperature,
    ...(topP === undefined ? {} : { topP }),
    ...(topK === undefined ? {} : { topK }),
    ...(seed === undefined ? {} : { seed }),
    ...(stop === undefined ? {} : { stop }),
    ...(text === undefined ? {} : { recompute: { text } }),
    ...(requestId === undefined ? {} : { requestId }),
  };
}

async function streamOne(
  client: KvaultClient,
  { terminal, signal }: Call,
  options: QueryOptions,
  context: string,
  question: string,
): Promise<void> {
  const settings = await settingsOf(options, signal);
  const { answer } = await askQuestion(client, context, question, { ...settings, onText: (text) => terminal.write(text) });
  terminal.result(answerJson(question, answer), () => "");
  terminal.note(summary(answer));
}

async function askTogether(
  client: KvaultClient,
  { terminal, signal }: Call,
  options: QueryOptions,
  context: string,
  questions: readonly string[],
): Promise<void> {
  let failed = 0;
  for await (const event of client.queryMany(context, questions, await settingsOf(options, signal))) {
    const question = questions[event.index] ?? "";
    if (event.type === "answer") {
      terminal.result(answerJson(question, event.answer), () => `${question}\n  ${event.answer.text.trim()}`);
    }
    if (event.type === "error") {
      failed += 1;
      const { code, message, details } = event.error;
      terminal.result({ question, error: { code, message, details } }, () => `${question}\n  error: ${message} [${code}]`);
    }
  }
  if (failed > 0) throw new ReportedFailure(`${failed} of ${questions.length} questions failed.`);
}

function answerJson(question: string, { text, finishReason, usage, timings, cache, seed }: Answer): unknown {
  return { question, answer: text, finishReason, usage, timings, cache, seed };
}

function summary({ usage, timings, cache }: Answer): string {
  const speed = timings.tpotMs > 0 ? `, ${(1000 / timings.tpotMs).toFixed(0)} tokens/s` : "";
  return `(${usage.newTokens} tokens, first after ${formatSeconds(timings.ttftMs / 1000)}${speed}, context from ${cache.tier}: ${cache.reason})`;
}

function nonNegative(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0) throw new InvalidArgumentError("Must be a number, 0 or above.");
  return value;
}
