/**
 * The whole job once: build a context, send every question at the same time, and measure what
 * reading the context again would have cost.
 *
 * @module
 */
import type { KvaultClient } from "@kvault/client";
import { type AskedQuestion, askQuestion } from "./ask-question.ts";
import { noteDefault } from "./context-view.ts";
import { followContext } from "./follow-context.ts";
import { type QuestionReport, questionReport, type RunReport, runReport } from "./run-report.ts";
import { createLiveLines } from "./terminal/live-lines.ts";
import type { Terminal } from "./terminal/terminal.ts";
import { formatBytes, formatCount, formatSeconds } from "./terminal/units.ts";

export interface Job {
  readonly model: string;
  readonly text: string;
  /** Preset or spec; absent: the gateway's default for the model. */
  readonly method?: string;
  /** Absent: as the method says. */
  readonly keepRatio?: number;
  readonly questions: readonly string[];
  readonly maxTokens: number;
  /** What the answer to question i has to be, when that is known. */
  readonly expected?: readonly string[];
  /** Judges an answer; needed with `expected`. */
  readonly isCorrect?: (answer: string, expected: string) => boolean;
}

/** Asked first, so that no measured time holds the start of an engine. */
const WARM_UP_TEXT = "A short text, read once.";

export async function runJob(gateway: KvaultClient, job: Job, terminal: Terminal, signal: AbortSignal): Promise<RunReport> {
  const { model, text, method, keepRatio } = job;
  terminal.note("starting   the engine that answers");
  await askInline(gateway, job, WARM_UP_TEXT, signal);
  const creation = {
    model,
    ...(method === undefined ? {} : { method }),
    ...(keepRatio === undefined ? {} : { keepRatio }),
    signal,
  };
  const name = await gateway.contexts.submit({ text }, creation);
  const context = await followContext(gateway, name, { progress: terminal.progress, signal });
  const { report } = context;
  if (method === undefined) noteDefault(terminal, context);
  if (report !== undefined) {
    const factor = report.rawBytesF16 / Math.max(1, report.storedBytes);
    terminal.note(
      `stored     ${formatCount(report.keptPairs)} of ${formatCount(report.totalPairs)} KV pairs, ` +
        `${formatBytes(report.storedBytes)} instead of ${formatBytes(report.rawBytesF16)} (${factor.toFixed(1)}× smaller)`,
    );
  }
  const questions = await askAll(gateway, name, job, terminal, signal);
  terminal.note("reading the whole text again for one question, to compare …");
  const { ttftMs: reprefillTtftMs } = await askInline(gateway, job, text, signal);
  terminal.note(`read again ${formatSeconds(reprefillTtftMs / 1000)} to the first token`);
  return runReport(context, reprefillTtftMs, questions);
}

async function askAll(
  gateway: KvaultClient,
  name: string,
  job: Job,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<QuestionReport[]> {
  const { questions, maxTokens, expected, isCorrect } = job;
  terminal.note(`asking     ${questions.length === 1 ? "1 question" : `${questions.length} questions at the same time`}`);
  const lines = createLiveLines(terminal.stderr, questions.length);
  return await Promise.all(
    questions.map(async (question, index) => {
      let soFar = "";
      const asked = await askQuestion(gateway, name, question, {
        maxTokens,
        signal,
        onText: (piece) => {
          soFar += piece;
          lines.set(index, `  ${question} ${soFar}`);
        },
      });
      const wanted = expected?.[index];
      const verdict =
        wanted === undefined ? undefined : { value: wanted, correct: isCorrect?.(asked.answer.text, wanted) ?? false };
      const mark = verdict === undefined ? " " : verdict.correct ? "✓" : "✗";
      lines.finish(index, `${mark} ${question} ${asked.answer.text.trim()} (${formatSeconds(asked.ttftMs / 1000)})`);
      return questionReport(question, asked, verdict);
    }),
  );
}

/** The first question on a text that is read for it alone: nothing is stored. */
function askInline(gateway: KvaultClient, job: Job, text: string, signal: AbortSignal): Promise<AskedQuestion> {
  return askQuestion(gateway, { model: job.model, text }, job.questions[0] ?? "", { maxTokens: 1, signal });
}
