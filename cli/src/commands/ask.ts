/**
 * `kvault ask`: one text, some questions, everything done here and thrown away afterwards.
 *
 * @module
 */
import { resolveSpec } from "@kvault/compression";
import { invalidArgument } from "@kvault/core";
import type { Command } from "commander";
import { fetchModel } from "../models.ts";
import {
  collect,
  type EngineFlags,
  engineSettings,
  keepOption,
  maxTokensOption,
  methodOption,
  modelOption,
  type TextFlags,
  withEngineFlags,
  withTextFlags,
} from "../options.ts";
import { runJob } from "../run-job.ts";
import { readText } from "../sources/read-text.ts";
import { withTemporaryStack } from "../temporary-stack.ts";
import { formatSeconds } from "../terminal/units.ts";
import { define, type Host, runs } from "./command.ts";

interface AskOptions extends EngineFlags, TextFlags {
  readonly model: string;
  readonly method?: string;
  readonly keep?: number;
  readonly question: readonly string[];
  readonly maxTokens: number;
}

export function addAsk(program: Command, host: Host): void {
  const ask = define(program, {
    usage: "ask",
    summary: "Compress a text and ask it questions, all in one command",
    description: `Starts everything in this process, builds the context, asks all questions at the same time, measures what
reading the text again would have cost, and leaves nothing behind. For many questions over time: kvault up.`,
    examples: [
      ['kvault ask --file notes.txt --question "Who was there?"', "30% of the pairs kept, by the default method"],
      ['kvault ask -f notes.txt --keep 0.5 --question "Who?" --question "When?" --json', "ends with one JSON object"],
      ['kvault ask -f src/ --ignore "*.test.ts" --question "What does it do?"', "a code base, by its .gitignore"],
    ],
  })
    .requiredOption("-q, --question <text>", "question, may be repeated", collect)
    .addOption(modelOption())
    .addOption(methodOption())
    .addOption(keepOption())
    .addOption(maxTokensOption());
  withEngineFlags(withTextFlags(ask, { required: true }));
  runs<AskOptions>(ask, host, async ({ terminal, signal, env }, options) => {
    const { model, method, keep, question, maxTokens } = options;
    const engine = engineSettings(options, env);
    if (method !== undefined) resolveSpec(method, keep);
    if (question.some((text) => text.trim() === "")) throw invalidArgument("question", "Cannot ask an empty question: write one");
    const { text } = await readText(options, { terminal, signal });
    await fetchModel(model, { ...engine, progress: terminal.progress, signal });
    const job = {
      model,
      text,
      ...(method === undefined ? {} : { method }),
      ...(keep === undefined ? {} : { keepRatio: keep }),
      questions: question,
      maxTokens,
    };
    const report = await withTemporaryStack(engine, (gateway) => runJob(gateway, job, terminal, signal), signal);
    terminal.result(report, () =>
      report.questions
        .map(
          (asked) => `${asked.question}\n  ${asked.answer.trim()}\n  (first token after ${formatSeconds(asked.ttftMs / 1000)})`,
        )
        .join("\n"),
    );
  });
}
