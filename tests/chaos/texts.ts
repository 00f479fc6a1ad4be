/**
 * The texts of a run, with the right answer to every question on them.
 *
 * @module
 */
import { createRng, type Rng } from "@kvault/core";
import { toyAnswerPrefix } from "@kvault/runtime/testing";
import { ask, build, connect, createRequest } from "../e2e/support/api.ts";
import { SMALL_MODEL } from "../e2e/support/kvault.ts";
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
      ...{ text, spec, model: i % 2 === 0 ? "toy" : "toy-slow", maxTokens: 64, drawQuestion },
      answer: (question) => `${prefix}${question}`,
    });
  }
  return texts;
}

function drawQuestion(rng: Rng): string {
  return `what of ${rng.below(1_000_000)}?`;
}

const REAL_TEXTS = 6;
const REAL_QUESTIONS = ["What is the combination?", "Who keeps the key?", "What must nobody do?"] as const;
const REAL_TOKENS = 12;

/** Texts of real weights: right is what a cluster that nobody hurts answers at `address`, greedily. */
export async function realTexts(seed: number, address: string): Promise<readonly ChaosText[]> {
  const rng = createRng(seed);
  const api = await connect(address);
  try {
    const texts: ChaosText[] = [];
    for (let i = 0; i < REAL_TEXTS; i++) {
      const sentence = `The combination of vault ${i} is ${rng.below(10_000)}; keeper ${rng.below(100)} has the key, and nobody may lend it. `;
      const text = sentence.repeat(4 + rng.below(8));
      const spec = i % 2 === 0 ? "none" : "streaming-llm";
      const { name } = await build(api, createRequest(text, { compression: { spec } }));
      const answers = new Map<string, string>();
      for (const question of REAL_QUESTIONS) answers.set(question, (await ask(api, name, question, REAL_TOKENS)).answer.text);
      texts.push({
        ...{ text, spec, model: SMALL_MODEL, maxTokens: REAL_TOKENS },
        answer: (question) => answers.get(question) ?? "",
        drawQuestion: (from) => REAL_QUESTIONS[from.below(REAL_QUESTIONS.length)] as string,
      });
    }
    return texts;
  } finally {
    api.close();
  }
}
