/**
 * Prompt pieces of a model: prefix ++ context ++ question ++ postfix, each encoded alone.
 *
 * A stored context must not depend on the question, so pieces are never joined and re-tokenised;
 * the question follows the context with nothing between (write a newline at the end of the
 * context, or at the start of the question, where the reader should see one).
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import type { ChatMessage, ContextPrompt, PromptBuilder } from "../types.ts";
import type { ChatTemplate } from "./chat-template.ts";
import type { TextEncoder } from "./text-encoder.ts";

/** More turns than any conversation stored as one context. */
const MAX_MESSAGES = 10_000;
const ROLES: ReadonlySet<string> = new Set(["system", "user", "assistant"]);

export function createPromptBuilder(encoder: TextEncoder, template: ChatTemplate): PromptBuilder {
  const [prefix, postfix] = template.pieces([{ role: "user", content: "" }]) as [string, string];
  const prefixIds = Int32Array.from(encoder.encodeTemplate(prefix));
  const postfixIds = Int32Array.from(encoder.encodeTemplate(postfix));
  return {
    postfixIds,
    encode: (text) => Int32Array.from(encoder.encodeText(text)),
    question: (text, turns = []) => followUp(encoder, template, [...turns, { role: "user", content: text }]),
    context(content) {
      if ("text" in content) return { prefixIds, contextIds: Int32Array.from(encoder.encodeText(content.text)) };
      return conversation(encoder, template, content.messages);
    },
  };
}

/** Everything before the first user's text is prefix (a system message included), the rest up to the end of the last text is context. */
function conversation(encoder: TextEncoder, template: ChatTemplate, messages: readonly ChatMessage[]): ContextPrompt {
  checkMessages(messages);
  const pieces = template.pieces(messages);
  const firstUser = messages.findIndex(({ role }) => role === "user");
  const prefix: number[] = [];
  const context: number[] = [];
  messages.forEach(({ content }, i) => {
    const text = encoder.encodeText(content);
    const piece = encoder.encodeTemplate(pieces[i] as string);
    append(i <= firstUser ? prefix : context, piece);
    append(i < firstUser ? prefix : context, text);
  });
  return { prefixIds: Int32Array.from(prefix), contextIds: Int32Array.from(context) };
}

/** Turns after a context that opened the first user's turn: its first template piece is the context's own prefix. */
function followUp(encoder: TextEncoder, template: ChatTemplate, turns: readonly ChatMessage[]): Int32Array {
  checkMessages(turns);
  const [, ...after] = template.pieces(turns);
  const ids: number[] = [];
  turns.forEach(({ content }, i) => {
    append(ids, encoder.encodeText(content));
    append(ids, encoder.encodeTemplate(after[i] as string));
  });
  return Int32Array.from(ids);
}

function append(to: number[], ids: readonly number[]): void {
  for (const id of ids) to.push(id);
}

function checkMessages(messages: readonly ChatMessage[]): void {
  if (messages.length === 0 || messages.length > MAX_MESSAGES) {
    throw invalidArgument("messages", `Cannot build prompt: ${messages.length} messages, expected 1 to ${MAX_MESSAGES}`);
  }
  const unknown = messages.findIndex(({ role }) => !ROLES.has(role));
  if (unknown >= 0) {
    throw invalidArgument("messages", `Cannot build prompt: message ${unknown} has role "${messages[unknown]?.role}"`);
  }
  const last = messages.at(-1)?.role;
  if (last !== "user")
    throw invalidArgument("messages", `Cannot build prompt: the last message is by "${last}", expected "user"`);
}
