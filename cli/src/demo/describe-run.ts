/**
 * The end of `kvault demo`, for people.
 *
 * @module
 */
import type { RunReport } from "../run-report.ts";
import { table } from "../terminal/table.ts";
import { formatBytes, formatCount, formatSeconds } from "../terminal/units.ts";

/** A line per question, then what it cost and what it saved. */
export function describeRun(report: RunReport): string {
  const { questions } = report;
  const rows = questions.map(({ question, answer, expected = "", correct, ttftMs, tokensPerSecond, cache }) => [
    /number of (\w+)/.exec(question)?.[1] ?? question,
    answer.trim(),
    expected,
    correct === true ? "right" : "wrong",
    `${Math.round(ttftMs)} ms`,
    tokensPerSecond.toFixed(0),
    cache.tier,
  ]);
  const right = questions.filter((question) => question.correct === true).length;
  const slowest = Math.max(...questions.map((question) => question.ttftMs));
  const factor = report.rawBytesF16 / report.storedBytes;
  return [
    "",
    table(["secret", "answer", "planted", "", "first token", "tokens/s", "context from"], rows),
    "",
    `${right} of ${questions.length} right, with ${formatCount(report.keptPairs)} of ${formatCount(report.totalPairs)} KV pairs kept over ${formatCount(report.contextTokens)} tokens`,
    `stored     ${formatBytes(report.storedBytes)} instead of ${formatBytes(report.rawBytesF16)} (${factor.toFixed(1)}× smaller)`,
    `built in   ${formatSeconds(report.prefillSeconds)} reading, ${formatSeconds(report.scoreSeconds)} scoring, ${formatSeconds(report.compressSeconds)} compressing, ${formatSeconds(report.publishSeconds)} publishing: once`,
    `answers    first token after at most ${formatSeconds(slowest / 1000)}, eight questions at the same time`,
    `read again ${formatSeconds(report.reprefillTtftMs / 1000)} to the first token of one question (${(report.reprefillTtftMs / slowest).toFixed(0)}× longer)`,
  ].join("\n");
}
