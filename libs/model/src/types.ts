/**
 * What the rest of KVault knows of a model: sizes, identity, prompt pieces. Nothing here runs it.
 *
 * @module
 */

/** Sizes and constants of a decoder-only transformer with grouped-query attention. */
export interface ModelConfig {
  /** GGUF `general.architecture`: the file name under families/. */
  readonly architecture: string;
  readonly numLayers: number;
  readonly hiddenSize: number;
  readonly ffnSize: number;
  readonly numQueryHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly vocabSize: number;
  /** Longest sequence the model was trained for, tokens. */
  readonly maxTokens: number;
  readonly rmsEpsilon: number;
  readonly ropeTheta: number;
  /** `[headDim / 2]`: what the frequency of each rotated pair is divided by (Llama 3, linear); absent: 1. Not for windowed layers. */
  readonly ropeFactors?: readonly number[];
  /** Attention logits are q·k times this; absent: 1/√headDim. */
  readonly attentionScale?: number;
  /** Where some layers see only the latest tokens; absent: every layer sees everything. */
  readonly slidingWindow?: SlidingWindow;
}

/** A token of a windowed layer sees `tokens` tokens, itself included. Only the other layers are scored and evicted. */
export interface SlidingWindow {
  readonly tokens: number;
  /** The layers that see everything, ascending; at least one. */
  readonly globalLayers: readonly number[];
  /** Rotation of the windowed layers. */
  readonly ropeTheta: number;
}

/** Everything of a model that could change an answer; part of a context's identity digest. */
export interface ModelIdentity {
  /** SHA-256 of the weight file, or over those of a folder's files. */
  readonly weightsSha256: string;
  /** SHA-256 over vocabulary, merges and special tokens. */
  readonly tokenizerSha256: string;
  /** SHA-256 of the chat template text. */
  readonly templateSha256: string;
  /** Canonical text of the rotation and of windows, e.g. `rope(theta=1000000,dim=64)`. */
  readonly rope: string;
}

export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** Token ids of a context: what is always kept, then what is compressed. */
export interface ContextPrompt {
  /** Template tokens before the text; always kept. */
  readonly prefixIds: Int32Array;
  /** The text itself. */
  readonly contextIds: Int32Array;
}

/** Turns text into prompt pieces; pieces are encoded one by one and never re-tokenised joined. */
export interface PromptBuilder {
  /** Prefix and context of a plain text, or of chat messages whose last one is the user's. */
  context(content: { readonly text: string } | { readonly messages: readonly ChatMessage[] }): ContextPrompt;
  /**
   * What follows the context: the earlier turns of the conversation about it (a question, its
   * answer, and so on), the question, the template's postfix.
   */
  question(text: string, turns?: readonly ChatMessage[]): Int32Array;
  /** The postfix alone: end of the user's turn and start of the assistant's. */
  readonly postfixIds: Int32Array;
  /** Plain encoding without special tokens added; special tokens written in `text` are encoded as text. */
  encode(text: string): Int32Array;
}

/** Token ids → text, one token at a time. */
export interface TokenDecoder {
  /** Raw UTF-8 bytes of a token; empty for special tokens. */
  bytesOf(tokenId: number): Uint8Array;
  /** Ids that end an answer. */
  readonly endIds: ReadonlySet<number>;
}
