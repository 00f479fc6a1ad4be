/**
 * The tokenizer of a model file: prompts in, tokens out, and the digests that name it.
 *
 * @module
 */
import { sha256Hex } from "@kvault/core";
import type { GgufMetadata } from "../formats/gguf-metadata.ts";
import type { WeightSource } from "../formats/weight-source.ts";
import { ropeText } from "../rope.ts";
import type { ModelConfig, ModelIdentity, PromptBuilder, TokenDecoder } from "../types.ts";
import { type ChatTemplate, parseChatTemplate, plainTemplate } from "./chat-template.ts";
import { createPromptBuilder } from "./prompt-builder.ts";
import { createTextEncoder } from "./text-encoder.ts";
import { createTokenDecoder } from "./token-decoder.ts";
import { digestVocabulary, readVocabulary, type Vocabulary } from "./vocabulary.ts";

export interface LoadedTokenizer {
  readonly prompts: PromptBuilder;
  readonly tokens: TokenDecoder;
}

/** Builds the tokenizer; half a second for 151 K tokens. MODEL_CORRUPT or MODEL_UNSUPPORTED when the file's cannot be used. */
export function loadTokenizer(source: Pick<WeightSource, "metadata">): LoadedTokenizer {
  const vocabulary = readVocabulary(source.metadata);
  const encoder = createTextEncoder(vocabulary);
  const template = chatTemplate(source.metadata, vocabulary);
  return { prompts: createPromptBuilder(encoder, template), tokens: createTokenDecoder(vocabulary) };
}

/** What names the model in a context's digest. `weightsSha256` is the whole source's, as the hub verified it. */
export function identityOf(source: Pick<WeightSource, "metadata">, config: ModelConfig, weightsSha256: string): ModelIdentity {
  const { metadata } = source;
  return {
    weightsSha256,
    tokenizerSha256: digestVocabulary(metadata),
    templateSha256: sha256Hex(chatTemplate(metadata, readVocabulary(metadata)).text),
    rope: ropeText(config),
  };
}

function chatTemplate(metadata: GgufMetadata, { tokens, bosId, addBos, eosId }: Vocabulary): ChatTemplate {
  const textOf = (id: number | undefined): string => (id === undefined ? "" : (tokens[id] as string));
  if (!metadata.has("tokenizer.chat_template")) return plainTemplate(addBos ? textOf(bosId) : "");
  return parseChatTemplate(metadata.string("tokenizer.chat_template"), {
    bos_token: textOf(bosId),
    eos_token: textOf(eosId),
  });
}
