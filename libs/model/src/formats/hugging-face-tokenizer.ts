/**
 * `tokenizer.json` and what lies beside it → the GGUF metadata keys of a tokenizer.
 *
 * Byte-level BPE keeps its own word cutter, as JSON in place of a known name. BPE with byte
 * fallback is SentencePiece converted: its scores are the merges' ranks.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { GgufScalar } from "./gguf-metadata.ts";
import type { JsonObject } from "./hugging-face-config.ts";

type MetadataValue = GgufScalar | readonly GgufScalar[];

export interface TokenizerFiles {
  /** `tokenizer.json`. */
  readonly tokenizer: JsonObject;
  /** `tokenizer_config.json`; empty when there is none. */
  readonly config: JsonObject;
  /** `chat_template.jinja`, where there is one. */
  readonly template: string | undefined;
  /** Rows of the embedding: ids without a token get a placeholder. */
  readonly vocabSize: number;
}

/** `tokenizer.ggml.token_type` values. */
const NORMAL = 1;
const CONTROL = 3;
const USER_DEFINED = 4;
const UNUSED = 5;
const BYTE = 6;

interface BpeModel {
  readonly type?: unknown;
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly (string | readonly [string, string])[];
  readonly byte_fallback?: boolean;
  readonly ignore_merges?: boolean;
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** MODEL_UNSUPPORTED unless it is BPE. */
export function tokenizerMetadata({ tokenizer, config, template, vocabSize }: TokenizerFiles): Map<string, MetadataValue> {
  const model = tokenizer["model"] as BpeModel | undefined;
  if (model?.type !== "BPE" || typeof model.vocab !== "object" || !Array.isArray(model.merges)) {
    throw new KvaultError("MODEL_UNSUPPORTED", `Cannot use tokenizer.json: its model is ${JSON.stringify(model?.type)}, not BPE`);
  }
  const added = (tokenizer["added_tokens"] ?? []) as readonly AddedToken[];
  const { tokens, types } = listTokens(model, added, vocabSize);
  const metadata = new Map<string, MetadataValue>([
    ["tokenizer.ggml.tokens", tokens],
    ["tokenizer.ggml.token_type", types],
  ]);
  if (model.byte_fallback === true) {
    metadata.set("tokenizer.ggml.model", "llama");
    metadata.set("tokenizer.ggml.scores", scoresOf(model, tokens));
    metadata.set("tokenizer.ggml.add_space_prefix", JSON.stringify(tokenizer["normalizer"] ?? null).includes('"Prepend"'));
  } else {
    metadata.set("tokenizer.ggml.model", "gpt2");
    metadata.set("tokenizer.ggml.merges", model.merges.map(mergeText));
    metadata.set("tokenizer.ggml.pre", wordCutter(tokenizer, model));
  }
  const idOf = new Map(tokens.map((token, id) => [token, id] as const));
  for (const [key, name] of [
    ["bos", "bos_token"],
    ["eos", "eos_token"],
  ] as const) {
    const id = idOf.get(tokenText(config[name]));
    if (id !== undefined) metadata.set(`tokenizer.ggml.${key}_token_id`, id);
  }
  const bos = tokenText(config["bos_token"]);
  metadata.set("tokenizer.ggml.add_bos_token", addsBos(tokenizer, config, bos));
  const chat = template ?? chatTemplate(config["chat_template"]);
  if (chat !== undefined) metadata.set("tokenizer.chat_template", chat);
  return metadata;
}

function listTokens(model: BpeModel, added: readonly AddedToken[], vocabSize: number): { tokens: string[]; types: number[] } {
  const entries = Object.entries(model.vocab);
  const length = Math.max(vocabSize, 1 + highest(entries.map(([, id]) => id)), 1 + highest(added.map(({ id }) => id)));
  const tokens = Array.from({ length }, (_, id) => `[PAD${id}]`);
  const types = new Array<number>(length).fill(UNUSED);
  for (const [token, id] of entries) {
    tokens[id] = token;
    types[id] = model.byte_fallback === true && /^<0x[0-9A-F]{2}>$/.test(token) ? BYTE : NORMAL;
  }
  for (const { id, content, special } of added) {
    tokens[id] = content;
    types[id] = special ? CONTROL : USER_DEFINED;
  }
  return { tokens, types };
}

/** Minus the rank of the first merge that makes a token; tokens of one character are never made. */
function scoresOf(model: BpeModel, tokens: readonly string[]): number[] {
  const rank = new Map<string, number>();
  for (const [i, merge] of model.merges.entries()) {
    const made = typeof merge === "string" ? merge.replace(" ", "") : merge.join("");
    if (!rank.has(made)) rank.set(made, i + 1);
  }
  return tokens.map((token) => -(rank.get(token) ?? 0));
}

function mergeText(merge: string | readonly [string, string]): string {
  return typeof merge === "string" ? merge : merge.join(" ");
}

/** What {@link import("../tokenizer/pre-tokenizers.ts").preTokenizer} reads back. */
function wordCutter(tokenizer: JsonObject, { ignore_merges }: BpeModel): string {
  const { normalizer = null, pre_tokenizer = null } = tokenizer;
  return JSON.stringify({ normalizer, pre_tokenizer, ...(ignore_merges === true ? { ignore_merges } : {}) });
}

function addsBos(tokenizer: JsonObject, config: JsonObject, bos: string): boolean {
  if (bos === "") return false;
  const said = config["add_bos_token"];
  return typeof said === "boolean" ? said : JSON.stringify(tokenizer["post_processor"] ?? null).includes(JSON.stringify(bos));
}

/** Special tokens are given as text or as an object. */
function tokenText(value: unknown): string {
  if (typeof value === "string") return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === "string" ? content : "";
}

/** One template, or several by name. */
function chatTemplate(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const named = value as readonly { name?: unknown; template?: unknown }[];
  const chosen = named.find(({ name }) => name === "default")?.template;
  return typeof chosen === "string" ? chosen : undefined;
}

function highest(ids: readonly number[]): number {
  return ids.reduce((most, id) => Math.max(most, id), -1);
}
