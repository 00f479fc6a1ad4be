/**
 * The texts of a run, with the right answer to every question on them.
 *
 * @module
 */
import { createRng, type Rng } from "@kvault/core";
import { toyAnswerPrefix } from "@kvault/runtime/testing";
import type { ChaosText } from "./load.ts";

const NUM_TEXTS = 40;
/** Shortest and longest, characters; a token of the toy is a byte. */
const CHARS = [150, 3_000] as const;
const SPECS = ["none", "kvzip(chunk=2000)|global|top-k(keep=0.5)|f16"] as const;

/** Every other text is of the slow toy: builds and answers that are met in the middle. */
export async function toyTexts(seed: number): Promise<readonly ChaosText[]> {
  const rng = createRng(seed);
  const texts: ChaosText[] = [];
  for (let i = 0; i < NUM_TEXTS; i++) {
    const sentence = `Text ${i} of run ${seed}: the combination of vault ${rng.below(1_000_000)} is ${rng.below(10_000)}. `;
    const chars = CHARS[0] + rng.below(CHARS[1] - CHARS[0]);
    const text = sentence.repeat(Math.ceil(chars / sentence.length)).slice(0, chars);
    const spec = SPECS[rng.below(SPECS.length)] as string;
    const prefix = await toyAnswerPrefix(text, spec);
    texts.push({
      text,
      spec,
      model: i % 2 === 0 ? "toy" : "toy-slow",
      answer: (question) => `${prefix}${question}`,
      drawQuestion,
    });
  }
  return texts;
}

function drawQuestion(rng: Rng): string {
  return `what of ${rng.below(1_000_000)}?`;
}
