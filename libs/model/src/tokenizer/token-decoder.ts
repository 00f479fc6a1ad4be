/**
 * Token ids → bytes, one token at a time. A token may hold part of a UTF-8 character; joining
 * bytes into text is the caller's.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { TokenDecoder } from "../types.ts";
import { bytesOfTokenText } from "./byte-alphabet.ts";
import { SPACE_MARK } from "./sentencepiece.ts";
import type { Vocabulary } from "./vocabulary.ts";

/** Names under which the supported families end a turn or a text. */
const END_NAMES: readonly string[] = [
  "<|im_end|>",
  "<|endoftext|>",
  "<|eot_id|>",
  "<|eom_id|>",
  "<|end_of_text|>",
  "<end_of_turn>",
  "<eos>",
];
const EMPTY = new Uint8Array(0);

export function createTokenDecoder(vocabulary: Vocabulary): TokenDecoder {
  const { tokens, specials, eosId, eotId } = vocabulary;
  const ends = [eosId, eotId, ...END_NAMES.map((name) => specials.get(name))];
  return {
    endIds: new Set(ends.filter((id) => id !== undefined)),
    bytesOf(tokenId) {
      const text = tokens[tokenId];
      if (text === undefined) throw new RangeError(`Cannot decode token ${tokenId}: the vocabulary has ${tokens.length}`);
      if (vocabulary.isUserDefined(tokenId)) {
        return Buffer.from(vocabulary.kind === "sentencepiece" ? text.replaceAll(SPACE_MARK, " ") : text, "utf8");
      }
      if (vocabulary.isByte(tokenId)) return Uint8Array.of(Number.parseInt(text.slice(3, 5), 16));
      if (!vocabulary.isNormal(tokenId)) return EMPTY;
      if (vocabulary.kind === "sentencepiece") return Buffer.from(text.replaceAll(SPACE_MARK, " "), "utf8");
      const bytes = bytesOfTokenText(text);
      if (bytes === undefined)
        throw new KvaultError("MODEL_CORRUPT", `Cannot decode token ${tokenId}: "${text}" is not byte-level`);
      return bytes;
    },
  };
}
