/**
 * KVzip: a pair matters if the model looks at it while repeating the context.
 *
 * Paper: arXiv:2505.23416. After prefill the context is cut into chunks; for each, the model
 * reads "repeat the (part of the) context" followed by the chunk itself, with the whole cache
 * in view. In every layer, with queries of all those tokens and a sub-sampled key set
 *
 *   keys = [ sinks ; the chunk's cached keys ; the repeat's own keys (causal) ]
 *   score[k, s] = max over query heads of the group and query tokens of softmax(q·keysᵀ/√D)[s]
 *
 * so a score is a probability in (0, 1]. The softmax runs inside the ONNX repeat graph
 * (libs/runtime), which hands the maxima over as `repeatAttention_KS`; this file owns what the
 * pass reads ({@link planRepeat}) and what its columns are ({@link RepeatPass}).
 *
 * Two forms. `paper`: the sinks are the whole template prefix and the second prompt ends in a
 * space, as the authors' code has it. `kvpress`: the sinks are the first four positions and
 * that space is missing, as NVIDIA/kvpress has it. Neither scores the prefix: it is 0 here and
 * the pipeline keeps it whole (kvpress keeps only its four sinks and evicts the rest first).
 *
 * Cost: one more pass over the context, whose attention sees everything: the linear part of
 * prefill once, its attention twice. Pure: no model, no tokenizer in here.
 *
 * @module
 */
import { z } from "zod";
import type { RepeatPass, ScorerFactory, ScorerLayer } from "../types.ts";

/** Tokens of the previous chunk that tell the model where the next one starts. */
const PREVIOUS_TAIL_TOKENS = 8;
const KVPRESS_SINK_TOKENS = 4;

const PROMPTS = {
  paper: {
    first: "\n\nRepeat the previous context exactly.",
    next: "\n\nRepeat the part of the previous context exactly, starting with ",
  },
  kvpress: {
    first: "\n\nRepeat the previous context exactly.",
    next: "\n\nRepeat the part of the previous context exactly, starting with",
  },
} as const;

const params = z.strictObject({
  chunk: z.int().min(16).max(65_536).default(2000).describe("context tokens repeated per prompt"),
  form: z.enum(["paper", "kvpress"]).default("paper").describe("whose sinks and prompt: the authors' or NVIDIA/kvpress'"),
});

export const kvzip: ScorerFactory = {
  name: "kvzip",
  summary: "largest attention received while the model repeats the context",
  source: "arXiv:2505.23416",
  params,
  example: {
    layer: {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 4, headDim: 2, prefixTokens: 1 },
      repeatAttention_KS: Float32Array.of(0.9, 0.2509, 0.6233, 0.5413),
    },
    ranking: [2, 3, 1, 0],
  },
  create: (given) => {
    return {
      needs: new Set(["repeat-attention"] as const),
      repeatPass: repeatPassOf(given),
      queryAgnostic: true,
      score: scoreRepeat,
    };
  },
};

/** The pass that {@link kvzip}'s parameters describe. */
export function repeatPassOf(given: Readonly<Record<string, unknown>>): RepeatPass {
  const { chunk, form } = params.parse(given);
  return {
    chunkTokens: chunk,
    form,
    sinkTokens: (prefixTokens) => (form === "paper" ? prefixTokens : Math.min(KVPRESS_SINK_TOKENS, prefixTokens)),
  };
}

/** What {@link planRepeat} needs of a prompt and its tokenizer. */
export interface RepeatInput {
  /** Tokens of the context, template prefix not included. */
  readonly contextIds: Int32Array;
  /** Length of the template prefix in the cache. */
  readonly prefixTokens: number;
  /** End of the user's turn and start of the assistant's, as served. */
  readonly postfixIds: Int32Array;
  /** Plain encoding, no special tokens added; must give the same ids for the same text. */
  readonly encode: (text: string) => Int32Array;
}

/** One forward of the repeat pass. */
export interface RepeatChunk {
  /** Prompt, tail of the previous chunk, postfix, chunk: positions go on after the context. */
  readonly inputIds: Int32Array;
  /** Absolute positions `[start, end)` of the chunk: the columns that are scored. */
  readonly start: number;
  readonly end: number;
  /** Columns `[0, sinkTokens)` of the cache that every softmax row sees besides. */
  readonly sinkTokens: number;
}

/** The forwards of a repeat pass, in order; their `[start, end)` tile the context. Each must see the cache without the others. */
export function planRepeat(pass: RepeatPass, input: RepeatInput): RepeatChunk[] {
  const { contextIds, prefixTokens, postfixIds, encode } = input;
  const prompts = PROMPTS[pass.form];
  const sinkTokens = pass.sinkTokens(prefixTokens);
  const chunks: RepeatChunk[] = [];
  for (let from = 0; from < contextIds.length; from += pass.chunkTokens) {
    const to = Math.min(from + pass.chunkTokens, contextIds.length);
    const promptIds = encode(from === 0 ? prompts.first : prompts.next);
    const tailIds = contextIds.subarray(Math.max(0, from - PREVIOUS_TAIL_TOKENS), from);
    chunks.push({
      inputIds: joinIds([promptIds, tailIds, postfixIds, contextIds.subarray(from, to)]),
      start: prefixTokens + from,
      end: prefixTokens + to,
      sinkTokens,
    });
  }
  return chunks;
}

function joinIds(pieces: readonly Int32Array[]): Int32Array {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  const joined = new Int32Array(length);
  let cursor = 0;
  for (const piece of pieces) {
    joined.set(piece, cursor);
    cursor += piece.length;
  }
  return joined;
}

/** `repeatAttention_KS` [kvHead, seq] → `out_KS`, the prefix at 0; higher is kept. */
export function scoreRepeat(layer: ScorerLayer, out_KS: Float32Array): void {
  const { numKvHeads: K, seqLen: S, prefixTokens, repeatAttention_KS } = layer;
  if (repeatAttention_KS?.length !== K * S) {
    throw new RangeError(
      `Cannot score repeat attention: [${K}, ${S}] needs ${K * S} values, found ${repeatAttention_KS?.length ?? "none"}`,
    );
  }
  for (let k = 0; k < K; k++) {
    const base = k * S;
    for (let s = 0; s < S; s++) out_KS[base + s] = s < prefixTokens ? 0 : repeatAttention_KS[base + s];
  }
}
