/**
 * Greedy decoding in ten lines: what tests compare answers with.
 *
 * @module
 */
import type { StepBatch } from "../model-runner.ts";

/** Index of the highest logit, the lower one on ties. */
export function argmax(logits_V: ArrayLike<number>): number {
  let best = 0;
  for (let v = 1; v < logits_V.length; v++) if (logits_V[v] > logits_V[best]) best = v;
  return best;
}

/** Answers of all `questions` decoded together: `maxTokens` ids each, cut at the first end id. */
export async function greedyAnswers(
  batch: StepBatch,
  questions: readonly ArrayLike<number>[],
  maxTokens: number,
  endIds: ReadonlySet<number>,
): Promise<number[][]> {
  const sequences = questions.map(() => batch.add());
  const answers: number[][] = questions.map(() => []);
  let logits = await batch.run(sequences.map((sequence, i) => ({ sequence, ids: Array.from(questions[i]) })));
  for (let step = 0; ; step++) {
    const next = logits.map(argmax);
    for (const [i, id] of next.entries()) answers[i].push(id);
    if (step === maxTokens - 1) break;
    logits = await batch.run(sequences.map((sequence, i) => ({ sequence, ids: [next[i]] })));
  }
  for (const sequence of sequences) batch.remove(sequence);
  return answers.map((ids) => {
    const end = ids.findIndex((id) => endIds.has(id));
    return end < 0 ? ids : ids.slice(0, end);
  });
}
