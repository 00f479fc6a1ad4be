/**
 * The vocabulary of a weight source: token strings, their kinds, merges or scores and special
 * ids, checked against each other.
 *
 * @module
 */
import { digestFields, KvaultError } from "@kvault/core";
import type { GgufMetadata } from "../formats/gguf-metadata.ts";

/** `tokenizer.ggml.token_type` values we tell apart. */
const NORMAL = 1;
const CONTROL = 3;
const USER_DEFINED = 4;
const BYTE = 6;

export interface Vocabulary {
  /** Byte-level BPE, or SentencePiece BPE. */
  readonly kind: "byte-level" | "sentencepiece";
  /** `[V]` token strings by id; normal ones in the byte alphabet where byte-level, the others verbatim. */
  readonly tokens: readonly string[];
  /** Byte-level: "left right", best first. */
  readonly merges: readonly string[];
  /** Byte-level: name of the word cutter. */
  readonly pre: string;
  /** SentencePiece: `[V]`, the higher the sooner a piece is made. */
  readonly scores: readonly number[];
  /** SentencePiece: every text begins with a space. */
  readonly addSpacePrefix: boolean;
  /** Tokens that text is made of. */
  isNormal(id: number): boolean;
  /** SentencePiece: tokens `<0x00>` to `<0xFF>`. */
  isByte(id: number): boolean;
  /** Tokens that stand for themselves in a template and print as written, e.g. `<tool_call>`. */
  isUserDefined(id: number): boolean;
  /** Tokens a template may name: control and user-defined ones, text → id. */
  readonly specials: ReadonlyMap<string, number>;
  readonly bosId: number | undefined;
  readonly addBos: boolean;
  readonly eosId: number | undefined;
  /** End of turn, where the file names one. */
  readonly eotId: number | undefined;
}

/** MODEL_CORRUPT when parts disagree, MODEL_UNSUPPORTED when it is neither kind of BPE vocabulary. */
export function readVocabulary(metadata: GgufMetadata): Vocabulary {
  const model = metadata.string("tokenizer.ggml.model");
  if (model !== "gpt2" && model !== "llama") {
    throw new KvaultError(
      "MODEL_UNSUPPORTED",
      `Cannot tokenise for this model: tokenizer "${model}", supported are gpt2 (byte-level BPE) and llama (SentencePiece)`,
      {
        details: { tokenizer: model },
      },
    );
  }
  const isByteLevel = model === "gpt2";
  const tokens = metadata.strings("tokenizer.ggml.tokens");
  const types = metadata.numbers("tokenizer.ggml.token_type");
  if (types.length !== tokens.length)
    throw corrupt("tokenizer.ggml.token_type", `${types.length} types for ${tokens.length} tokens`);
  const specials = new Map<string, number>();
  for (let id = 0; id < tokens.length; id++) {
    const text = tokens[id] as string;
    const type = types[id] as number;
    if ((type === CONTROL || type === USER_DEFINED) && text !== "") specials.set(text, id);
  }
  const specialId = (key: string): number | undefined => {
    if (!metadata.has(key)) return undefined;
    const id = metadata.number(key);
    if (!Number.isInteger(id) || id < 0 || id >= tokens.length) throw corrupt(key, `${id} of ${tokens.length} tokens`);
    return id;
  };
  const bosId = specialId("tokenizer.ggml.bos_token_id");
  const scores = isByteLevel ? [] : metadata.numbers("tokenizer.ggml.scores");
  if (!isByteLevel && scores.length !== tokens.length)
    throw corrupt("tokenizer.ggml.scores", `${scores.length} scores for ${tokens.length} tokens`);
  return {
    kind: isByteLevel ? "byte-level" : "sentencepiece",
    tokens,
    merges: isByteLevel ? metadata.strings("tokenizer.ggml.merges") : [],
    pre: isByteLevel ? metadata.string("tokenizer.ggml.pre") : "",
    scores,
    addSpacePrefix: !isByteLevel && metadata.boolean("tokenizer.ggml.add_space_prefix", true),
    isByte: (id) => types[id] === BYTE,
    isNormal: (id) => types[id] === NORMAL,
    isUserDefined: (id) => types[id] === USER_DEFINED,
    specials,
    bosId,
    addBos: metadata.boolean("tokenizer.ggml.add_bos_token", bosId !== undefined),
    eosId: specialId("tokenizer.ggml.eos_token_id"),
    eotId: specialId("tokenizer.ggml.eot_token_id"),
  };
}

/** Everything of a vocabulary that decides which ids a text gets. */
export function digestVocabulary(metadata: GgufMetadata): string {
  const { kind, tokens, merges, scores, addSpacePrefix, pre, bosId, addBos, eosId, eotId } = readVocabulary(metadata);
  const isByteLevel = kind === "byte-level";
  return digestFields("kvault.tokenizer.v1", [
    ["pre", isByteLevel ? pre : kind],
    ["tokens", JSON.stringify(tokens)],
    ["types", JSON.stringify(metadata.numbers("tokenizer.ggml.token_type"))],
    isByteLevel ? ["merges", JSON.stringify(merges)] : ["scores", JSON.stringify([addSpacePrefix, scores])],
    ["special", JSON.stringify([bosId ?? -1, addBos, eosId ?? -1, eotId ?? -1])],
  ]);
}

function corrupt(key: string, what: string): KvaultError {
  return new KvaultError("MODEL_CORRUPT", `Cannot read vocabulary: "${key}": ${what}`, { details: { key } });
}
