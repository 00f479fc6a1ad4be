/**
 * Token ids → text, one token at a time, never splitting a UTF-8 character.
 *
 * A byte-level vocabulary cuts characters anywhere: a token may end in the middle of one.
 * The bytes of an unfinished character wait for the next token. Bytes that can never become
 * a character turn into U+FFFD as soon as that is certain (the rule of the WHATWG decoder),
 * an unfinished character at the end of the answer at the end.
 *
 * @module
 */
import type { TokenDecoder } from "@kvault/model";

export interface Detokeniser {
  /** Whole characters that became certain with this token; may be empty. */
  push(tokenId: number): string;
  /** What was held back, as replacement characters; the detokeniser starts over. */
  end(): string;
}

export function createDetokeniser(tokens: Pick<TokenDecoder, "bytesOf">): Detokeniser {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return {
    push: (tokenId) => decoder.decode(tokens.bytesOf(tokenId), { stream: true }),
    end: () => decoder.decode(),
  };
}
