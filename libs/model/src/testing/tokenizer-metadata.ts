/**
 * GGUF tokenizer metadata out of a published `tokenizer.json`, so that our reading of it can be
 * compared with the library that reads the original.
 *
 * @module
 */
import { type GgufEntry, GgufMetadata, type GgufScalar } from "../formats/gguf-metadata.ts";

interface TokenizerJson {
  readonly model: { readonly vocab: Readonly<Record<string, number>>; readonly merges: readonly (string | readonly string[])[] };
  readonly added_tokens: readonly { readonly id: number; readonly content: string; readonly special: boolean }[];
}

/** Metadata as a converter writes it: control tokens type 3, other added tokens type 4. */
export function tokenizerMetadata(
  json: TokenizerJson,
  pre: string,
  scalars: Readonly<Record<string, GgufScalar>> = {},
): GgufMetadata {
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(json.model.vocab)) tokens[id] = token;
  const types = tokens.map(() => 1);
  for (const { id, content, special } of json.added_tokens) {
    tokens[id] = content;
    types[id] = special ? 3 : 4;
  }
  const merges = json.model.merges.map((merge) => (typeof merge === "string" ? merge : merge.join(" ")));
  return metadataOf({
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": pre,
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": types,
    "tokenizer.ggml.merges": merges,
    ...scalars,
  });
}

/** Metadata with these values. */
export function metadataOf(values: Readonly<Record<string, GgufScalar | readonly GgufScalar[]>>): GgufMetadata {
  const entries = Object.entries(values).map(([key, value]): [string, GgufEntry] => [
    key,
    typeof value === "object" ? { kind: "array", length: value.length, decode: () => value } : { kind: "scalar", value },
  ]);
  return new GgufMetadata(new Map(entries), "made for a test");
}
