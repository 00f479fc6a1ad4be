/**
 * Content → the token ids of a context that this model can hold and still answer on.
 *
 * @module
 */
import { invalidArgument, KvaultError } from "@kvault/core";
import type { ContextPrompt } from "@kvault/model";
import type { ModelRunner } from "../model-runner.ts";
import type { Content } from "./types.ts";

/** Positions kept free after a context for a question and its answer; a context that leaves less is refused. */
export const ANSWER_RESERVE_TOKENS = 512;

/** INVALID_ARGUMENT for content without text, TOKEN_LIMIT for more than the model's length less {@link ANSWER_RESERVE_TOKENS}. */
export function readContext(runner: Pick<ModelRunner, "prompts" | "config">, content: Content): ContextPrompt {
  const text = "text" in content ? content.text : (content.messages.at(-1)?.content ?? "");
  if (text.trim() === "") throw invalidArgument("content", "Cannot read context: it has no text", { found: text.length });
  const prompt = runner.prompts.context(content);
  if (prompt.contextIds.length === 0) throw invalidArgument("content", "Cannot read context: it has no tokens");
  const tokens = prompt.prefixIds.length + prompt.contextIds.length;
  const { maxTokens } = runner.config;
  if (tokens + ANSWER_RESERVE_TOKENS > maxTokens) {
    throw new KvaultError(
      "TOKEN_LIMIT",
      `Cannot read context of ${tokens} tokens: the model holds ${maxTokens}, ${ANSWER_RESERVE_TOKENS} are kept for question and answer`,
      { details: { field: "content", tokens, maxTokens, reservedTokens: ANSWER_RESERVE_TOKENS } },
    );
  }
  return prompt;
}
