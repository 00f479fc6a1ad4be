/**
 * The vocabulary of a GGUF file: token strings, their kinds, merges and special ids, checked
 * against each other.
 *
 * @module
 */
import { digestFields, KvaultError } from "@kvault/core";
import type { GgufMetadata } from "../formats/gguf-metadata.ts";

/** `tokenizer.ggml.token_type` values we tell apart. */
const NORMAL = 1;
const CONTROL = 3;
const USER_DEFINED = 4;

export interface Vocabulary {
  /** `[V]` token strings by id; normal ones in the byte alphabet, the others verbatim. */
  readonly tokens: readonly string[];
  /** "left right", best first. */
  readonly merges: readonly string[];
  /** Name of the word cutter. */
  readonly pre: string;
  /** Tokens that text is made of. */
  isNormal(id: number): boolean;
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

/** MODEL_CORRUPT when parts disagree, MODEL_UNSUPPORTED when it is not a byte-level BPE vocabulary. */
export function readVocabulary(metadata: GgufMetadata): Vocabulary {
  const model = metadata.string("tokenizer.ggml.model");
  if (model !== "gpt2") {
    throw new KvaultError(
      "MODEL_UNSUPPORTED",
      `Cannot tokenise for this model: tokenizer "${model}", supported is gpt2 (byte-level BPE)`,
      {
        details: { tokenizer: model },
      },
    );
  }
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
  return {
    tokens,
    merges: metadata.strings("tokenizer.ggml.merges"),
    pre: metadata.string("tokenizer.ggml.pre"),
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
  const { tokens, merges, pre, bosId, addBos, eosId, eotId } = readVocabulary(metadata);
  return digestFields("kvault.tokenizer.v1", [
    ["pre", pre],
    ["tokens", JSON.stringify(tokens)],
    ["types", JSON.stringify(metadata.numbers("tokenizer.ggml.token_type"))],
    ["merges", JSON.stringify(merges)],
    ["special", JSON.stringify([bosId ?? -1, addBos, eosId ?? -1, eotId ?? -1])],
  ]);
}

function corrupt(key: string, what: string): KvaultError {
  return new KvaultError("MODEL_CORRUPT", `Cannot read vocabulary: "${key}": ${what}`, { details: { key } });
}
