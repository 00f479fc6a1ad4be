/**
 * One answer as it grows: logits in, text out, and the decision that it is over.
 *
 * Joins sampler, detokeniser and stop strings in the only order that works: an end token is
 * no text; bytes become characters before stop strings are looked for; what is held back is
 * shown when the answer ends without a stop string.
 *
 * An answer that another engine began is brought to where it was by its tokens alone: what was
 * held back follows from them, and the sampler has drawn once for each.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import type { TokenDecoder } from "@kvault/model";
import type { FinishReason, ResumePoint, SamplingOptions } from "../engine/types.ts";
import { createSampler } from "../sampling/sampler.ts";
import { createDetokeniser } from "./detokeniser.ts";
import { createStopMatcher } from "./stop-strings.ts";

export interface AnswerOptions {
  readonly tokens: TokenDecoder;
  readonly sampling: SamplingOptions;
  readonly stop: readonly string[];
  /** At least 1. */
  readonly maxTokens: number;
  readonly resume?: ResumePoint;
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
  /** Set when what was resumed was the whole answer: there is nothing to step. */
  readonly finishReason: FinishReason | undefined;
  /** Draws a token from `logits_V`. Throws INTERNAL on logits that are not numbers. */
  step(logits_V: Float32Array): AnswerStep;
}

/** INVALID_ARGUMENT when `resume` cannot have been sent of this answer. */
export function createAnswer({ tokens, sampling, stop, maxTokens, resume }: AnswerOptions): Answer {
  const sample = createSampler(sampling, resume?.tokenIds.length);
  const detokeniser = createDetokeniser(tokens);
  const matcher = createStopMatcher(stop);
  let text = "";
  let newTokens = 0;
  let unsent: number[] = [];
  let finishReason: FinishReason | undefined;

  const finish = (shown: string, reason: FinishReason): AnswerStep => {
    finishReason = reason;
    text += shown;
    const tokenIds = reason === "stop" && shown === "" ? [] : unsent;
    unsent = [];
    return { text: shown, tokenIds, finishReason, nextToken: -1 };
  };
  /** No more tokens come: shows the rest of the text. */
  const finishWithRest = (shown: string, reason: FinishReason): AnswerStep => {
    const last = matcher.push(detokeniser.end());
    return last.stopped ? finish(shown + last.text, "stop") : finish(shown + last.text + matcher.end(), reason);
  };
  const take = (token: number): AnswerStep => {
    newTokens++;
    unsent.push(token);
    const { text: shown, stopped } = matcher.push(detokeniser.push(token));
    if (stopped) return finish(shown, "stop");
    if (newTokens >= maxTokens) return finishWithRest(shown, "max-tokens");
    if (shown === "") return { text: "", tokenIds: [], nextToken: token };
    text += shown;
    const tokenIds = unsent;
    unsent = [];
    return { text: shown, tokenIds, nextToken: token };
  };
  const goOnAfter = ({ tokenIds, textUnits }: ResumePoint): void => {
    for (const token of tokenIds) {
      if (finishReason !== undefined || tokens.endIds.has(token)) throw notOfThisAnswer(tokenIds, textUnits);
      take(token);
    }
    unsent = [];
    // Text beyond what the tokens show is sent by the end token alone.
    if (finishReason === undefined && textUnits > text.length) finishWithRest("", "end");
    if (text.length !== textUnits) throw notOfThisAnswer(tokenIds, textUnits);
  };

  if (resume !== undefined) goOnAfter(resume);
  return {
    get text() {
      return text;
    },
    get newTokens() {
      return newTokens;
    },
    get finishReason() {
      return finishReason;
    },
    step(logits_V) {
      const token = sample(logits_V);
      return tokens.endIds.has(token) ? finishWithRest("", "end") : take(token);
    },
  };
}

function notOfThisAnswer(tokenIds: readonly number[], textUnits: number): Error {
  return invalidArgument(
    "resume",
    `Cannot go on after ${tokenIds.length} tokens and ${textUnits} characters: they are not the beginning of this answer`,
  );
}
