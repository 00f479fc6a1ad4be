/**
 * Questions on one resident context, all at once, with the answers given to the model token by
 * token: whether each planted code is what it would have said, and how likely the full
 * context's own answers are.
 *
 * @module
 */
import type { ModelRunner, ResidentContext } from "../model-runner.ts";
import { argmax } from "../testing/greedy.ts";
import type { NeedleQuestion } from "./questions.ts";

export interface GivenAnswer {
  readonly questionIds: Int32Array;
  readonly answerIds: readonly number[];
}

export interface Score {
  /** Needles whose every code token is the likeliest. */
  readonly needles: number;
  /** Mean negative log-likelihood of an answer token, and the share of them that are not the likeliest. */
  readonly nll: number;
  readonly flips: number;
}

/** Asks everything; greedy where an answer is judged. */
export async function scoreContext(
  runner: ModelRunner,
  resident: ResidentContext,
  needles: readonly NeedleQuestion[],
  answers: readonly GivenAnswer[],
): Promise<Score> {
  const found = needles.map(() => true);
  await teach(runner, resident, needles, (i, t, logits_V) => {
    const { answerIds, codeTokens } = needles[i];
    if (t >= answerIds.length - codeTokens && argmax(logits_V) !== answerIds[t]) found[i] = false;
  });
  let sum = 0;
  let flips = 0;
  let count = 0;
  await teach(runner, resident, answers, (i, t, logits_V) => {
    const id = answers[i].answerIds[t];
    sum += logSumExp(logits_V) - logits_V[id];
    if (argmax(logits_V) !== id) flips++;
    count++;
  });
  return { needles: found.filter(Boolean).length, nll: sum / count, flips: flips / count };
}

/** Reads every question and then its answer; `see` gets the logits that answer token t should win. */
async function teach(
  runner: ModelRunner,
  resident: ResidentContext,
  given: readonly { readonly questionIds: Int32Array; readonly answerIds: ArrayLike<number> }[],
  see: (i: number, t: number, logits_V: Float32Array) => void,
): Promise<void> {
  const batch = runner.openStepBatch(resident);
  try {
    const sequences = given.map(() => batch.add());
    let open = given.map((_, i) => i);
    let logits = await batch.run(open.map((i) => ({ sequence: sequences[i], ids: Array.from(given[i].questionIds) })));
    for (let t = 0; open.length > 0; t++) {
      for (const [at, i] of open.entries()) see(i, t, logits[at]);
      open = open.filter((i) => t + 1 < given[i].answerIds.length);
      if (open.length === 0) break;
      logits = await batch.run(open.map((i) => ({ sequence: sequences[i], ids: [given[i].answerIds[t]] })));
    }
  } finally {
    batch.close();
  }
}

function logSumExp(logits_V: Float32Array): number {
  let highest = Number.NEGATIVE_INFINITY;
  for (const logit of logits_V) highest = Math.max(highest, logit);
  let sum = 0;
  for (const logit of logits_V) sum += Math.exp(logit - highest);
  return highest + Math.log(sum);
}
