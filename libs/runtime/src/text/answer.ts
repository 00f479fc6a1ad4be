/**
 * One answer as it grows: logits in, text out, and the decision that it is over.
 *
 * Joins sampler, detokeniser and stop strings in the only order that works: an end token is
 * no text; bytes become characters before stop strings are looked for; what is held back is
 * shown when the answer ends without a stop string.
 *
 * @module
 */
import type { TokenDecoder } from "@kvault/model";
import type { FinishReason, SamplingOptions } from "../engine/types.ts";
import { createSampler } from "../sampling/sampler.ts";
import { createDetokeniser } from "./detokeniser.ts";
import { createStopMatcher } from "./stop-strings.ts";

export interface AnswerOptions {
  readonly tokens: TokenDecoder;
  readonly sampling: SamplingOptions;
  readonly stop: readonly string[];
  /** At least 1. */
  readonly maxTokens: number;
}

export interface AnswerStep {
  /** Text that may be shown now; may be empty. */
  readonly text: string;
  /** Tokens drawn since the last step that had text to show. Empty while text is held back. */
  readonly tokenIds: readonly number[];
  /** Present in the last step. */
  readonly finishReason?: FinishReason;
  /** The token to feed next, unless this is the last step. */
  readonly nextToken: number;
}

export interface Answer {
  /** Everything shown so far. */
  readonly text: string;
  /** Tokens drawn so far; a token that ends the answer is not one. */
  readonly newTokens: number;
  /** Draws a token from `logits_V`. Throws INTERNAL on logits that are not numbers. */
  step(logits_V: Float32Array): AnswerStep;
}

export function createAnswer({ tokens, sampling, stop, maxTokens }: AnswerOptions): Answer {
  const sample = createSampler(sampling);
  const detokeniser = createDetokeniser(tokens);
  const matcher = createStopMatcher(stop);
  let text = "";
  let newTokens = 0;
  let unsent: number[] = [];

  /** The rest of the text when no more tokens come. */
  const flush = (shown: string, finishReason: FinishReason): { shown: string; finishReason: FinishReason } => {
    const last = matcher.push(detokeniser.end());
    return last.stopped
      ? { shown: shown + last.text, finishReason: "stop" }
      : { shown: shown + last.text + matcher.end(), finishReason };
  };
  const finish = (shown: string, finishReason: FinishReason): AnswerStep => {
    text += shown;
    const tokenIds = finishReason === "stop" && shown === "" ? [] : unsent;
    unsent = [];
    return { text: shown, tokenIds, finishReason, nextToken: -1 };
  };

  return {
    get text() {
      return text;
    },
    get newTokens() {
      return newTokens;
    },
    step(logits_V) {
      const token = sample(logits_V);
      if (tokens.endIds.has(token)) {
        const { shown, finishReason } = flush("", "end");
        return finish(shown, finishReason);
      }
      newTokens++;
      unsent.push(token);
      const { text: shown, stopped } = matcher.push(detokeniser.push(token));
      if (stopped) return finish(shown, "stop");
      if (newTokens >= maxTokens) {
        const last = flush(shown, "max-tokens");
        return finish(last.shown, last.finishReason);
      }
      if (shown === "") return { text: "", tokenIds: [], nextToken: token };
      text += shown;
      const tokenIds = unsent;
      unsent = [];
      return { text: shown, tokenIds, nextToken: token };
    },
  };
}
