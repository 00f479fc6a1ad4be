/**
 * Text → token ids, two ways. Text that somebody wrote is text: a `<|im_end|>` in it becomes the
 * ordinary tokens of those ten characters, so no document or question can close a turn or open a
 * system prompt. Template pieces are ours: in them the names of special tokens are those tokens.
 *
 * Some vocabularies lack a few control bytes (SmolLM2: 0x04 among others); like the models' own
 * tokenizers, those are left out.
 *
 * Cost: 125 K tokens of prose in 0.35-0.65 s; the merges of one word are n log n in its length.
 *
 * @module
 */
import { Tokenizer } from "@huggingface/tokenizers";
import { KvaultError } from "@kvault/core";
import { preTokenizer } from "./pre-tokenizers.ts";
import { createSentencePieceEncoder } from "./sentencepiece.ts";
import type { Vocabulary } from "./vocabulary.ts";

export interface TextEncoder {
  /** Ids of what somebody wrote; never a special token. */
  encodeText(text: string): number[];
  /** Ids of a piece of a template: names of special tokens are those tokens. */
  encodeTemplate(text: string): number[];
}

export function createTextEncoder(vocabulary: Vocabulary): TextEncoder {
  const encodeText = vocabulary.kind === "byte-level" ? byteLevelEncoder(vocabulary) : createSentencePieceEncoder(vocabulary);
  const { specials } = vocabulary;
  const anySpecial = alternation([...specials.keys()]);
  return {
    encodeText,
    encodeTemplate(text) {
      if (anySpecial === undefined) return encodeText(text);
      return text.split(anySpecial).flatMap((piece) => specials.get(piece) ?? (piece === "" ? [] : encodeText(piece)));
    },
  };
}

function byteLevelEncoder(vocabulary: Vocabulary): (text: string) => number[] {
  const { normalizer, pre_tokenizer, ignore_merges = false } = preTokenizer(vocabulary.pre);
  // without a prototype, a token named __proto__ is a key like any other
  const vocab: Record<string, number> = Object.create(null);
  for (let id = 0; id < vocabulary.tokens.length; id++) {
    if (vocabulary.isNormal(id)) vocab[vocabulary.tokens[id] as string] = id;
  }
  const tokenizer = new Tokenizer(
    {
      normalizer,
      pre_tokenizer,
      post_processor: null,
      decoder: null,
      model: { type: "BPE", vocab, merges: vocabulary.merges, ignore_merges },
      added_tokens: [],
    },
    {},
  );
  return (text) => {
    const { ids } = tokenizer.encode(text, { add_special_tokens: false });
    if (ids.includes(undefined as unknown as number)) {
      throw new KvaultError("MODEL_CORRUPT", "Cannot tokenise: a merge makes a token that is not in the vocabulary");
    }
    return ids;
  };
}

/** Matches any of `names`, longest first, capturing it; undefined for none. */
function alternation(names: readonly string[]): RegExp | undefined {
  if (names.length === 0) return undefined;
  const longestFirst = [...names].sort((a, b) => b.length - a.length || (a < b ? -1 : 1));
  return new RegExp(`(${longestFirst.map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`, "u");
}
