/**
 * `kvault query`: questions on a stored context.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import { type Answer, FinishReason, fromRpcStatus } from "@kvault/rpc";
import { type Command, InvalidArgumentError } from "commander";
import { askQuestion, cacheReport } from "../ask-question.ts";
import { contextName } from "../context-view.ts";
import { connectGateway, type GatewayClient } from "../gateway-client.ts";
import { type ConnectionFlags, collect, maxTokensOption, positiveInteger, withConnectionFlags } from "../options.ts";
import { readTextFile } from "../settings.ts";
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
    .option("--recompute <path>", "the context's text, read again if its record is lost or its store is down")
    .option("--request-id <id>", "name the request, for `kvault explain` and the logs");
  withConnectionFlags(query);
  runs<QueryOptions>(query, host, async (call, options, context = "", ...questions) => {
    if (questions.some((question) => question.trim() === ""))
      throw invalidArgument("question", "Cannot ask an empty question: write one");
    const gateway = await connectGateway(options);
    try {
      if (questions.length === 1) await streamOne(gateway, call, options, contextName(context), questions[0] ?? "");
      else await askTogether(gateway, call, options, contextName(context), questions);
    } finally {
      gateway.close();
    }
  });
}

/** The text that was read, for a record that cannot be had. */
function onMiss({ recompute }: QueryOptions) {
  if (recompute === undefined) return {};
  const content = { content: { case: "text" as const, value: readTextFile(recompute) } };
  return { onMiss: { action: { case: "recompute" as const, value: { content } } } };
}

function named({ requestId }: QueryOptions): { readonly requestId?: string } {
  return requestId === undefined ? {} : { requestId };
}

function parameters({ maxTokens, temperature, topP, topK, seed, stop }: QueryOptions) {
  return {
    sampling: { temperature, topP: topP ?? 0, topK: topK ?? 0, seed: BigInt(seed ?? 0) },
    limits: { maxTokens, stop: [...(stop ?? [])] },
  };
}

async function streamOne(
  gateway: GatewayClient,
  call: Call,
  options: QueryOptions,
  context: string,
  question: string,
): Promise<void> {
  const { terminal, signal } = call;
  const request = { source: { case: "context" as const, value: context }, question, ...parameters(options), ...onMiss(options) };
  const { answer } = await askQuestion(gateway, request, {
    signal,
    onText: (text) => terminal.write(text),
    ...named(options),
  });
  terminal.result(answerJson(question, answer), () => "");
  terminal.note(summary(answer));
}

async function askTogether(
  gateway: GatewayClient,
  { terminal, signal }: Call,
  options: QueryOptions,
  context: string,
  questions: readonly string[],
): Promise<void> {
  const request = { context, questions: questions.map((question) => ({ question, ...parameters(options) })), ...onMiss(options) };
  let failed = 0;
  for await (const { index, event } of gateway.inference.queryBatch(request, { signal, ...named(options) })) {
    const question = questions[index] ?? "";
    if (event.case === "answer") {
      const { value } = event;
      terminal.result(answerJson(question, value), () => `${question}\n  ${value.text.trim()}`);
    }
    if (event.case === "error") {
      failed += 1;
      const { code, message, details } = fromRpcStatus(event.value);
      terminal.result({ question, error: { code, message, details } }, () => `${question}\n  error: ${message} [${code}]`);
    }
  }
  if (failed > 0) throw new ReportedFailure(`${failed} of ${questions.length} questions failed.`);
}

function answerJson(question: string, answer: Answer): unknown {
  const { text, finishReason, usage, timings, seed } = answer;
  return {
    question,
    answer: text,
    finishReason: FinishReason[finishReason],
    usage: {
      contextTokens: usage?.contextTokens ?? 0,
      keptPairs: Number(usage?.keptPairs ?? 0),
      questionTokens: usage?.questionTokens ?? 0,
      newTokens: usage?.newTokens ?? 0,
    },
    timings: {
      queueMs: timings?.queueMs ?? 0,
      loadMs: timings?.loadMs ?? 0,
      ttftMs: timings?.ttftMs ?? 0,
      tpotMs: timings?.tpotMs ?? 0,
      totalMs: timings?.totalMs ?? 0,
    },
    cache: cacheReport(answer),
    seed: Number(seed),
  };
}

function summary(answer: Answer): string {
  const { usage, timings } = answer;
  const { tier, reason } = cacheReport(answer);
  const tpotMs = timings?.tpotMs ?? 0;
  const speed = tpotMs > 0 ? `, ${(1000 / tpotMs).toFixed(0)} tokens/s` : "";
  return `(${usage?.newTokens ?? 0} tokens, first after ${formatSeconds((timings?.ttftMs ?? 0) / 1000)}${speed}, context from ${tier}: ${reason})`;
}

function nonNegative(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0) throw new InvalidArgumentError("Must be a number, 0 or above.");
  return value;
}
