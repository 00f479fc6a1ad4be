/**
 * The four axes of a compression method and what flows between them.
 *
 *   scorer → score_LKS → allocator → headBudget_LK → selector → position_n → (refit →) codec → tensors
 *
 * Each axis is one function over plain arrays; none knows the others. A method of the
 * literature is a choice on every axis, written as a spec string
 * `kvzip(chunk=2000)|global|top-k(keep=0.3)|f16` (see spec.ts).
 *
 * Counts: `S` context positions, the first `protectedTokens` of them (the chat template's
 * prefix) are always kept and never ranked. A *budget* counts KV pairs of the rest.
 *
 * @module
 */
import type { DenseLayerKv, KvShape, NamedTensor, RaggedLayerKv } from "@kvault/core";
import type { z } from "zod";
import type { MatMul } from "./refit/mat-mul.ts";

/** What a scorer must be given besides sizes. */
export type ScorerNeed =
  /** Post-RoPE keys of the whole context. */
  | "keys"
  /** Values of the whole context. */
  | "values"
  /** Maximal attention received while the model repeats the context: one more pass (see {@link RepeatPass}). */
  | "repeat-attention"
  /** Attention given by the context's last {@link Scorer.windowTokens} tokens, summed inside the prefill graph. */
  | "window-attention"
  /** Mean and covariance of the context's pre-RoPE queries from {@link Scorer.momentsFrom} on, and the RoPE frequencies. */
  | "query-moments"
  /** Log KVzip scores predicted from the hidden states by a model of the model (`kvault calibrate`). */
  | "surrogate";

/**
 * Measurements of a model that some methods rest on, each made once by `kvault calibrate`:
 *
 * - `retrieval-heads` `[layer, queryHead]`: attention on a needle while it is being repeated
 * - `layer-errors` `[layer]`: relative output error of a tiny cache, sums to 1
 * - `kvzip-heads`, `baklava-heads`, `duo-heads` `[layer, kvHead]`: importance of a head by that method, in [0, 1]
 * - `layer-map` `[layer]`: the layer whose keys and values a layer reads; itself where it has its own
 * - `surrogate` `[layer, hidden + 1, kvHead]`: linear map from a hidden state to log scores, the last row its constants
 *
 * Layers are those that see the whole context, numbered from 0, but for `surrogate`, which has all.
 */
export const PROFILE_NAMES = [
  "surrogate",
  "kvzip-heads",
  "retrieval-heads",
  "layer-errors",
  "baklava-heads",
  "duo-heads",
  "layer-map",
] as const;

export type ProfileName = (typeof PROFILE_NAMES)[number];

/** The measurements a plan asked for; others may be absent. */
export type ModelProfile = { readonly [Name in ProfileName]?: Float32Array };

/** How the repeat pass (KVzip) cuts the context and what its softmax sees. */
export interface RepeatPass {
  /** Context tokens repeated per prompt. */
  readonly chunkTokens: number;
  /**
   * `paper`: softmax columns are the whole template prefix, the chunk and the repeat.
   * `kvpress`: only the first {@link sinkTokens} positions of the prefix, the chunk and the
   * repeat. Either way only context positions are scored.
   */
  readonly form: "paper" | "kvpress";
  /** Attention is weighed by what the position's value adds, relative to the row's hidden state. */
  readonly normalised?: true;
  /** Leading positions every softmax row sees: prefix length (`paper`) or at most 4 of it (`kvpress`). */
  sinkTokens(prefixTokens: number): number;
}

/** One layer as a scorer sees it. Arrays not asked for in `needs` are absent. */
export interface ScorerLayer {
  readonly layer: number;
  readonly numLayers: number;
  readonly numKvHeads: number;
  readonly seqLen: number;
  readonly headDim: number;
  /** Leading template tokens, always kept. */
  readonly prefixTokens: number;
  /** `[kvHead, seq, headDim]` post-RoPE. */
  readonly key_KSD?: Float32Array;
  readonly value_KSD?: Float32Array;
  /** `[kvHead, seq]`, 0 where the repeat pass has no column. */
  readonly repeatAttention_KS?: Float32Array;
  /** Query heads; query head h reads KV head `floor(h · numKvHeads / numQueryHeads)`. Given with every array of query heads. */
  readonly numQueryHeads?: number;
  /**
   * `[queryHead, seq]`: column sums of the causal softmax, rows the last `windowTokens`
   * positions (all of them where there are fewer), columns the whole context, prefix included.
   */
  readonly windowAttention_HS?: Float32Array;
  /** `[queryHead, headDim]` mean of the pre-RoPE queries (biases and norms applied) of positions `momentsFrom …`. */
  readonly queryMean_HD?: Float32Array;
  /** `[queryHead, headDim, headDim]` their covariance, divided by their count; all 0 where there are none. */
  readonly queryCovariance_HDD?: Float32Array;
  /** `[headDim / 2]` radians per position of each rotated pair (i, i + headDim / 2), scaling applied. */
  readonly ropeFrequencies?: Float64Array;
  /** `[kvHead, seq]` natural logs of predicted scores. */
  readonly surrogate_KS?: Float32Array;
  readonly profile?: ModelProfile;
}

/** Importance of every pair of a layer; higher is kept. Pure: same input, same output. */
export interface Scorer {
  readonly needs: ReadonlySet<ScorerNeed>;
  /** Present exactly when `needs` has `repeat-attention`. */
  readonly repeatPass?: RepeatPass;
  /** Rows of the window's attention, `Infinity` for every position. Present exactly when `needs` has `window-attention`. */
  readonly windowTokens?: number;
  /** First position whose query counts. Present exactly when `needs` has `query-moments`. */
  readonly momentsFrom?: number;
  /** What `profile` must hold. */
  readonly profile?: ProfileName;
  /** True when no query was looked at: the record may serve any question. */
  readonly queryAgnostic: boolean;
  /** Set where the scores order nothing: only a plan that keeps every pair may use it. */
  readonly unranked?: true;
  /** Writes `out_KS` `[kvHead, seq]`, finite everywhere. */
  score(layer: ScorerLayer, out_KS: Float32Array): void;
}

/** A one-head layer small enough to check by hand and what the scorer makes of it; conformance runs it. */
export interface ScorerExample {
  readonly layer: ScorerLayer;
  /** Positions of the layer's one head, most important first; equal scores by position. */
  readonly ranking: readonly number[];
}

/** Scores of a whole context, `[layer, kvHead, seq]`. */
export interface ScoreSet extends KvShape {
  readonly seqLen: number;
  readonly score_LKS: Float32Array;
  readonly profile?: ModelProfile;
}

/**
 * How many ranked pairs the scores themselves call for, at most `maxBudget`: what a part adds
 * whose count depends on the text. `keep` is then a ceiling.
 */
export type ChooseTotal = (scores: ScoreSet, protectedTokens: number, maxBudget: number) => number;

/** Splits a total over layers and heads. */
export interface Allocator {
  /** Set where all heads of a layer get the same count, but for one that a total does not divide by. */
  readonly levelsHeads?: true;
  /** What `scores.profile` must hold. */
  readonly profile?: ProfileName;
  readonly chooseTotal?: ChooseTotal;
  /**
   * Set where layers read the pairs of others: for every layer the one whose pairs it reads,
   * itself or an earlier one that reads its own. A layer that reads another's stores nothing.
   */
  sourceLayers?(scores: Pick<ScoreSet, "numLayers" | "profile">): Uint32Array;
  /**
   * Writes `[layer, kvHead]` counts of ranked pairs (protected ones not included). They sum
   * to `totalBudget` exactly and none exceeds `seqLen - protectedTokens`.
   */
  allocate(scores: ScoreSet, protectedTokens: number, totalBudget: number): Uint32Array;
}

/** Picks positions of one head. Every selector has a parameter `keep`, its {@link Selector.keepRatio}. */
export interface Selector {
  /** Fraction of ranked pairs kept, in (0, 1]. */
  readonly keepRatio: number;
  readonly chooseTotal?: ChooseTotal;
  /** Every head of a layer keeps the same positions, ranked by their mean score. */
  readonly sharesLayer?: true;
  /**
   * `protectedTokens + budget` positions, ascending, unique, the protected ones first; among
   * equal scores the lower position.
   */
  select(score_S: Float32Array, protectedTokens: number, budget: number): Uint32Array;
}

/** One layer as a refit sees it. */
export interface RefitLayer {
  readonly dense: DenseLayerKv;
  readonly kept: RaggedLayerKv;
  /** `[kvHead, m, headDim]` sampled post-RoPE queries of each KV head's group (refit/sample-queries.ts). */
  readonly query_KMD: Float32Array;
}

/** Changes kept values before they are encoded; keys and positions stay. */
export interface Refit {
  /** Whose queries are sampled: the context's, the repeat pass's, or half of each. */
  readonly queries: "own" | "repeat" | "both";
  /** Queries to sample per KV head; fewer where there are not so many. */
  readonly numQueries: number;
  /** New values `[n, D]` for `layer.kept`, finite; RangeError for arrays of other sizes. */
  refitValues(layer: RefitLayer, matMul: MatMul): Promise<Float32Array>;
}

/** What a codec must be given besides the kept pairs, on the layer it encodes. */
export type CodecNeed =
  /** {@link EncodableLayer.ropeFrequencies}. */
  | "rope"
  /** {@link EncodableLayer.score_n}. */
  | "scores";

/** Kept pairs of a layer and what a codec may need besides, to encode them. Decoding needs the part alone. */
export interface EncodableLayer extends RaggedLayerKv {
  /** `[headDim / 2]` radians per position of each rotated pair (i, i + headDim / 2), scaling applied. */
  readonly ropeFrequencies?: Float64Array;
  /** `[n]` scores of the pairs; higher is more important. */
  readonly score_n?: Float32Array;
}

/** Rows of heads in clusters, of which a new token reads those it points to. */
export interface Recall {
  /** `[n]` cluster of every row, numbered from 0 in each head; cluster 0 is always read. */
  readonly cluster_n: Uint16Array;
  /** Rows of a head that a token reads; a head of no more is read whole. */
  readonly budgetRows: number;
}

/** What a codec makes of its tensors. */
export interface DecodedRows {
  readonly key_nD: Float32Array;
  readonly value_nD: Float32Array;
  /** Present exactly where {@link Codec.recalls}. */
  readonly recall?: Recall;
}

/** A layer as it was read back. */
export interface DecodedLayer extends RaggedLayerKv {
  readonly recall?: Recall;
}

/** Kept pairs ⇄ named tensors of one safetensors part. Positions and offsets are the part's (part.ts). */
export interface Codec {
  /** What `encode` must be given besides the pairs; nothing when absent. RangeError without it. */
  readonly needs?: ReadonlySet<CodecNeed>;
  /**
   * No decoded value is further from the original than this times the largest magnitude of its
   * tensor, plus 2^-25 (half the smallest f16); exactly 0: lossless.
   */
  readonly maxRelativeError: number;
  /** Tensors for finite keys and values, by name; never `pos` or `offsets`. Same layer, same bytes. */
  encode(layer: EncodableLayer): Map<string, NamedTensor>;
  /** The inverse; throws CACHE_CORRUPT on missing, extra or ill-shaped tensors. */
  decode(tensors: ReadonlyMap<string, NamedTensor>, layout: RaggedLayout): DecodedRows;
  /** Set where rows come back in clusters. Models with windowed layers cannot use such a codec. */
  readonly recalls?: true;
  /**
   * Set where the codec stores positions itself, with its tensors: a part then has no `pos`.
   * The offsets are those of a layer; throws CACHE_CORRUPT as `decode` does.
   */
  decodePositions?(tensors: ReadonlyMap<string, NamedTensor>, layout: Omit<RaggedLayout, "position_n">): Uint32Array;
  /** Set where what `encode` writes depends on the values: `encodedBytes` is then a ceiling. */
  readonly sizeDependsOnData?: true;
  /** Exact bytes of `encode`'s tensors. */
  encodedBytes(layout: RaggedLayout): number;
}

/** A ragged layer without its data. */
export interface RaggedLayout {
  readonly numKvHeads: number;
  readonly headDim: number;
  readonly offset: Uint32Array;
  readonly position_n: Uint32Array;
}

/** One entry of a registry table: name, parameters with defaults, constructor. */
export interface PartFactory<Part> {
  /** As written in a spec: lower-case words joined by hyphens. */
  readonly name: string;
  /** One line for `kvault methods` and the documentation. */
  readonly summary: string;
  /** Where it is from, e.g. `arXiv:2505.23416`, or `own`. */
  readonly source: string;
  /** Every parameter with its default and a `.describe()`; strict: unknown names are refused. */
  readonly params: z.ZodObject;
  create(params: Readonly<Record<string, unknown>>): Part;
}

export interface ScorerFactory extends PartFactory<Scorer> {
  readonly example: ScorerExample;
}
export type AllocatorFactory = PartFactory<Allocator>;
export type SelectorFactory = PartFactory<Selector>;
export type RefitFactory = PartFactory<Refit>;
export type CodecFactory = PartFactory<Codec>;

export type { DenseLayerKv, KvShape, NamedTensor, RaggedLayerKv };
