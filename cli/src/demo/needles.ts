/**
 * Planted facts: sentences with a six-digit number that no model can know, spread evenly over a
 * real text at sentence ends. Retrieving them after eviction shows what the kept pairs still
 * hold. The same seed gives the same numbers and places.
 *
 * @module
 */
import { createRng } from "@kvault/core";

export interface Needle {
  readonly sentence: string;
  readonly question: string;
  /** Six digits. */
  readonly expected: string;
}

const WORDS = ["basil", "cedar", "delta", "falcon", "harbor", "jasper", "meadow", "orchid"] as const;

/** Eight needles; numbers drawn from `seed`, all different. */
export function makeNeedles(seed: number): readonly Needle[] {
  const rng = createRng(seed);
  const drawn = new Set<string>();
  while (drawn.size < WORDS.length) drawn.add(String(100_000 + rng.below(900_000)));
  const numbers = [...drawn];
  return WORDS.map((word, index) => ({
    sentence: `The secret number of ${word} is ${numbers[index]}.`,
    question: `What is the secret number of ${word}? Answer with the number only.`,
    expected: numbers[index] ?? "",
  }));
}

/** `text` with needle i after the sentence that ends nearest to (i + ½) / count of its length. */
export function plantNeedles(text: string, needles: readonly Needle[]): string {
  const ends = sentenceEnds(text);
  if (ends.length < needles.length) {
    throw new RangeError(`Cannot plant ${needles.length} needles: the text has ${ends.length} sentences`);
  }
  const taken = new Set<number>();
  const places = needles.map((needle, index) => {
    const target = ((index + 0.5) / needles.length) * text.length;
    const free = ends.filter((end) => !taken.has(end));
    const place = free.reduce((best, end) => (Math.abs(end - target) < Math.abs(best - target) ? end : best));
    taken.add(place);
    return { place, needle };
  });
  let planted = "";
  let from = 0;
  for (const { place, needle } of places.sort((a, b) => a.place - b.place)) {
    planted += `${text.slice(from, place)} ${needle.sentence}`;
    from = place;
  }
  return planted + text.slice(from);
}

/** Indices just after a full stop or question mark that white space and a capital follow. */
function sentenceEnds(text: string): number[] {
  return [...text.matchAll(/[a-z)][.?](?=\s+[A-Z_])/g)].map((match) => match.index + match[0].length);
}

/** True when the digits of an answer are the expected number and nothing else. */
export function isCorrect(answer: string, expected: string): boolean {
  return answer.replace(/\D/g, "") === expected;
}
