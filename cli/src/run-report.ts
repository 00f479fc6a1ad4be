/**
 * The figures of one whole job, as `kvault ask --json` and `kvault demo --json` end with. The
 * names are API.
 *
 * @module
 */
import type { CacheInfo, Context } from "@kvault/client";
import { KvaultError } from "@kvault/core";
import type { AskedQuestion } from "./ask-question.ts";

export interface QuestionReport {
  readonly question: string;
  readonly answer: string;
  /** Absent when nobody knows the right answer. */
  readonly expected?: string;
  readonly correct?: boolean;
  readonly ttftMs: number;
  readonly tokensPerSecond: number;
  readonly cache: CacheInfo;
}

export interface RunReport {
  readonly model: string;
  /** The method in full. */
  readonly spec: string;
  /** Template prefix not included. */
  readonly contextTokens: number;
  readonly keepRatio: number;
  readonly keptPairs: number;
  readonly totalPairs: number;
  readonly rawBytesF16: number;
  readonly storedBytes: number;
  readonly prefillSeconds: number;
  readonly scoreSeconds: number;
  readonly compressSeconds: number;
  readonly publishSeconds: number;
  /** Time to first token when the context is read again for one question, milliseconds. */
  readonly reprefillTtftMs: number;
  readonly questions: readonly QuestionReport[];
}

/** One question's line of the report. */
export function questionReport(
  question: string,
  asked: AskedQuestion,
  expected?: { value: string; correct: boolean },
): QuestionReport {
  return {
    question,
    answer: asked.answer.text,
    ...(expected === undefined ? {} : { expected: expected.value, correct: expected.correct }),
    ttftMs: round(asked.ttftMs, 1),
    tokensPerSecond: round(asked.tokensPerSecond, 1),
    cache: asked.answer.cache,
  };
}

/** The whole report of an ACTIVE context and its questions. */
export function runReport(context: Context, reprefillTtftMs: number, questions: readonly QuestionReport[]): RunReport {
  const { report } = context;
  if (report === undefined) throw new KvaultError("INTERNAL", `Cannot report on "${context.name}": it has no figures`);
  const { seconds } = report;
  return {
    model: context.model,
    spec: context.spec,
    contextTokens: report.contextTokens,
    keepRatio: report.keepRatio,
    keptPairs: report.keptPairs,
    totalPairs: report.totalPairs,
    rawBytesF16: report.rawBytesF16,
    storedBytes: report.storedBytes,
    prefillSeconds: round(seconds.prefill, 3),
    scoreSeconds: round(seconds.score, 3),
    compressSeconds: round(seconds.compress, 3),
    publishSeconds: round(seconds.publish, 3),
    reprefillTtftMs: round(reprefillTtftMs, 1),
    questions,
  };
}

function round(value: number, digits: number): number {
  const scale = 10 ** digits;
  return Math.round(value * scale) / scale;
}
