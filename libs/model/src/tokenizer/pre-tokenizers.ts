/**
 * How a vocabulary cuts text into words before merging, by GGUF `tokenizer.ggml.pre`. The patterns
 * are the ones the models were trained with (their published tokenizer.json); a text cut another
 * way gives other ids and worse answers, so an unknown name is refused.
 *
 * Adding one is an entry here and a row in the test against the model's own tokenizer.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";

/** Normalizer and pre-tokenizer in tokenizer.json form. */
export interface PreTokenizer {
  readonly normalizer: object | null;
  readonly pre_tokenizer: object;
  /** A word that is a token is taken whole, whatever its merges would make of it. */
  readonly ignore_merges?: boolean;
}

const BYTE_LEVEL = { type: "ByteLevel", add_prefix_space: false, trim_offsets: false };

const isolate = (regex: string): object => ({
  type: "Split",
  pattern: { Regex: regex },
  behavior: "Isolated",
  invert: false,
});

const sequence = (...pretokenizers: readonly object[]): object => ({ type: "Sequence", pretokenizers });

/** Contractions in either case, a word with one leading mark, single digits, marks, newlines, spaces. */
const QWEN2_WORDS = [
  "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
  "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+",
  "\\p{N}",
  " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*",
  "\\s*[\\r\\n]+",
  "\\s+(?!\\S)",
  "\\s+",
].join("|");

/** As Qwen2's, but digits come in groups of up to three. */
const LLAMA3_WORDS = QWEN2_WORDS.replace("\\p{N}|", "\\p{N}{1,3}|");

const PRE_TOKENIZERS: ReadonlyMap<string, PreTokenizer> = new Map<string, PreTokenizer>([
  [
    "llama-bpe",
    {
      normalizer: null,
      pre_tokenizer: sequence(isolate(LLAMA3_WORDS), { ...BYTE_LEVEL, use_regex: false }),
      ignore_merges: true,
    },
  ],
  ["qwen2", { normalizer: { type: "NFC" }, pre_tokenizer: sequence(isolate(QWEN2_WORDS), { ...BYTE_LEVEL, use_regex: false }) }],
  // every digit alone, then the words of GPT-2
  ["smollm", { normalizer: null, pre_tokenizer: sequence(isolate("\\p{N}"), { ...BYTE_LEVEL, use_regex: true }) }],
]);

/** By name, or as the JSON that a tokenizer.json brings along. MODEL_UNSUPPORTED when the name is not known. */
export function preTokenizer(name: string): PreTokenizer {
  if (name.startsWith("{")) return JSON.parse(name) as PreTokenizer;
  const found = PRE_TOKENIZERS.get(name);
  if (found === undefined) {
    const known = [...PRE_TOKENIZERS.keys()].join(", ");
    throw new KvaultError(
      "MODEL_UNSUPPORTED",
      `Cannot tokenise for this model: pre-tokenizer "${name}", supported are ${known}`,
      {
        details: { pre: name },
      },
    );
  }
  return found;
}
