/**
 * CompressKV's semantic retrieval heads (arXiv:2508.02401): query heads that look at a planted
 * sentence, all of it, while the model repeats it.
 *
 *   score(l, h) = mean over samples of Σ over answer tokens of Σ over the sentence of attention
 *
 * The answer is given to the model rather than drawn from it (the authors decode and keep the
 * samples it got right), so that weak models can be measured too. Haystacks are short: the
 * first words of the text.
 *
 * @module
 */
import type { Rng } from "@kvault/core";
import { globalLayers } from "@kvault/model";
import type { ModelRunner, RunOptions } from "../model-runner.ts";

const HAYSTACK_TOKENS = 768;
/** Needles of a text, one at a time, from its beginning to its end. */
export const NEEDLES_PER_TEXT = 4;
const PLACES = ["archive", "harbour", "observatory", "greenhouse"] as const;

/** Scores `[global layer, queryHead]`, summed over the needles of one text. */
export async function scoreRetrievalHeads(
  runner: ModelRunner,
  text: string,
  rng: Rng,
  options: RunOptions,
): Promise<Float32Array> {
  const { config, prompts } = runner;
  const { numQueryHeads: H } = config;
  const layers = globalLayers(config);
  const score_LH = new Float32Array(layers.length * H);
  const { prefixIds, contextIds } = prompts.context({ text });
  const hay = contextIds.subarray(0, Math.min(HAYSTACK_TOKENS, Math.floor(config.maxTokens / 2)));
  for (let i = 0; i < NEEDLES_PER_TEXT; i++) {
    const place = PLACES[i];
    const sentence = `The access code of the ${place} is ${100_000 + rng.below(900_000)}.`;
    const needle = prompts.encode(` ${sentence}`);
    const at = Math.floor(((i + 0.5) / NEEDLES_PER_TEXT) * hay.length);
    const question = prompts.question(`\nWhat is the access code of the ${place}?`);
    const answer = prompts.encode(sentence);
    // The row that gives an answer's token is that of the token before it.
    const ids = [...hay.subarray(0, at), ...needle, ...hay.subarray(at), ...question, ...answer.subarray(0, -1)];
    const prompt = { prefixIds, contextIds: Int32Array.from(ids) };
    const { onProgress: _, ...quiet } = options;
    const context = await runner.prefill(prompt, quiet);
    const attention = await runner.windowAttention(context, answer.length, quiet).finally(() => context.release());
    const from = prefixIds.length + at;
    for (const [l, layer] of layers.entries()) {
      for (let h = 0; h < H; h++) {
        const row = h * context.seqLen;
        for (let s = from; s < from + needle.length; s++) score_LH[l * H + h] += attention[layer][row + s] / answer.length;
      }
    }
  }
  return score_LH;
}
