/**
 * `kvault demo`: a real text with eight planted numbers, compressed and questioned.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import type { KvaultClient } from "@kvault/client";
import { resolveSpec } from "@kvault/compression";
import type { Command } from "commander";
import { describeRun } from "../demo/describe-run.ts";
import { isCorrect, makeNeedles, plantNeedles } from "../demo/needles.ts";
import { connectGateway } from "../gateway-client.ts";
import { fetchModel } from "../models.ts";
import { type EngineFlags, engineSettings, keepOption, methodOption, modelOption, withEngineFlags } from "../options.ts";
import { runJob } from "../run-job.ts";
import type { RunReport } from "../run-report.ts";
import { withTemporaryStack } from "../temporary-stack.ts";
import { ReportedFailure } from "../terminal/failure.ts";
import { formatCount } from "../terminal/units.ts";
import { define, type Host, runs } from "./command.ts";

const TEXT = new URL("../../assets/opticks.txt", import.meta.url);
const SEED = 7;
const KEEP_RATIO = 0.3;
const MAX_TOKENS = 16;

interface DemoOptions extends EngineFlags {
  readonly address?: string;
  readonly model: string;
  readonly method?: string;
  readonly keep?: number;
}

export function addDemo(program: Command, host: Host): void {
  const demo = define(program, {
    usage: "demo",
    summary: "Watch a real text being read, compressed, stored and questioned",
    description: `Plants eight six-digit numbers in twelve of Newton's Queries (Opticks, 1730), compresses the KV cache of that text,
stores it and asks for all eight numbers at the same time. Nothing was known of the questions when pairs were
evicted. Then the text is read again for one question, to compare. Exit code 1 when an answer is wrong.

The first run downloads the model (491 MB).`,
    examples: [
      ["kvault demo", "the whole story, about a minute on two cores once the model is here"],
      ["kvault demo --keep 0.15 --json", "how far can it go? Ends with one JSON object"],
      ["kvault demo --method streaming-llm", "what a method that does not look at the text does to it"],
    ],
  })
    .addOption(modelOption())
    .addOption(methodOption())
    .addOption(keepOption().default(KEEP_RATIO))
    .option("--address <host:port>", "a gateway that runs already (default: a whole KVault for this demo alone)");
  withEngineFlags(demo);
  runs<DemoOptions>(demo, host, async ({ terminal, signal, env }, options) => {
    const { model, method, keep = KEEP_RATIO, address } = options;
    const engine = engineSettings(options, env);
    if (method !== undefined) resolveSpec(method, keep);
    const needles = makeNeedles(SEED);
    const text = plantNeedles(readFileSync(TEXT, "utf8"), needles);
    const questions = needles.map((needle) => needle.question);
    const expected = needles.map((needle) => needle.expected);
    terminal.note(`model      ${model}`);
    terminal.note(`text       Newton's Opticks, ${formatCount(text.length)} characters, ${needles.length} planted numbers`);
    terminal.note(`method     ${method ?? "the model's default"}, keeping ${keep} of the KV pairs`);
    await fetchModel(model, { ...engine, progress: terminal.progress, signal });
    const chosen = method === undefined ? {} : { method };
    const job = { model, text, ...chosen, keepRatio: keep, questions, maxTokens: MAX_TOKENS, expected, isCorrect };
    const work = (gateway: KvaultClient): Promise<RunReport> => runJob(gateway, job, terminal, signal);
    const report = address === undefined ? await withTemporaryStack(engine, work, signal) : await withGateway(address, work);
    terminal.result(report, () => describeRun(report));
    const wrong = report.questions.filter((question) => question.correct !== true).length;
    if (wrong > 0) throw new ReportedFailure(`${wrong} of ${report.questions.length} answers are not the planted numbers.`);
  });
}

async function withGateway<Result>(address: string, work: (gateway: KvaultClient) => Promise<Result>): Promise<Result> {
  const gateway = await connectGateway({ address });
  try {
    return await work(gateway);
  } finally {
    gateway.close();
  }
}
