/**
 * What a compressed context is asked: planted codes, and general questions whose answers are
 * those of the uncompressed context.
 *
 * @module
 */
import { createRng } from "@kvault/core";
import type { PromptBuilder } from "@kvault/model";

const NEEDLES_PER_TEXT = 16;
const NAMES = [
  ...["amber", "basil", "cedar", "delta", "ember", "falcon", "garnet", "harbor"],
  ...["indigo", "jasper", "kestrel", "lagoon", "meadow", "nectar", "orchid", "pepper"],
] as const;

/** General questions; the answers are the full context's own. */
export const GENERAL_QUESTIONS = [
  "\nSummarise the text.",
  "\nWhat is the main subject of the text, and what is said about it?",
  "\nList the most important facts of the text.",
  "\nHow does the text end?",
] as const;

export interface NeedleQuestion {
  readonly questionIds: Int32Array;
  /** What has to follow the question, token by token: up to the code's last digit. */
  readonly answerIds: Int32Array;
  /** How many of the last answer tokens are the code. */
  readonly codeTokens: number;
}

export interface PlantedText {
  readonly text: string;
  readonly needles: readonly NeedleQuestion[];
}

/** `text` with sixteen codes at line or sentence ends, spread evenly, drawn from `seed`. */
export function plantCodes(text: string, seed: number, prompts: PromptBuilder): PlantedText {
  const rng = createRng(seed);
  const codes = NAMES.map(() => String(100_000 + rng.below(900_000)));
  const ends = [...text.matchAll(/\n|[.?!](?= )/g)].map((match) => match.index + 1);
  let planted = "";
  let from = 0;
  for (const [i, name] of NAMES.entries()) {
    const target = ((i + 0.5) / NEEDLES_PER_TEXT) * text.length;
    const at = ends.find((end) => end >= target) ?? text.length;
    planted += `${text.slice(from, at)} The access code of ${name} is ${codes[i]}. `;
    from = at;
  }
  planted += text.slice(from);
  const needles = NAMES.map((name, i) => {
    const lead = prompts.encode(`The access code of ${name} is `);
    const whole = prompts.encode(`The access code of ${name} is ${codes[i]}`);
    return {
      questionIds: prompts.question(`\nWhat is the access code of ${name}?`),
      answerIds: whole,
      codeTokens: whole.length - commonPrefix(lead, whole),
    };
  });
  return { text: planted, needles };
}

function commonPrefix(a: Int32Array, b: Int32Array): number {
  let n = 0;
  while (n < a.length && n < b.length && a[n] === b[n]) n++;
  return n;
}
