/**
 * The content half of a context's identity: a digest of the canonical bytes of what was submitted.
 *
 * Text is taken as it came: no trimming, no Unicode normalisation, since the tokenizer does
 * neither. A text and a conversation that holds the same text are different contents.
 *
 * @module
 */
import { digestFields, invalidArgument } from "@kvault/core";

export interface ContentMessage {
  readonly role: string;
  readonly content: string;
}

/** What a context is made of. */
export type ContextContent = { readonly text: string } | { readonly messages: readonly ContentMessage[] };

/** Hex SHA-256 of `content`; INVALID_ARGUMENT when a string has no UTF-8 form (a lone surrogate). */
export function contentSha256(content: ContextContent): string {
  try {
    if ("text" in content) return digestFields("kvault.text/1", [["text", content.text]]);
    const fields = content.messages.flatMap(({ role, content: text }) => [["role", role] as const, ["content", text] as const]);
    return digestFields("kvault.messages/1", fields);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw invalidArgument("content", "Cannot read content: it is not well-formed Unicode text");
  }
}
