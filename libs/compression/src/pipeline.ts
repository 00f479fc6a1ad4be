/**
 * score → allocate → select → refit: the only file that knows the order.
 *
 * Counts. `totalPairs = L·K·S`. The prefix is kept in every head; the rest is ranked:
 * `rankedPairs = L·K·(S - prefix)`, of which exactly `keepRatio · rankedPairs`, rounded half
 * to even, are kept, or fewer where a part lets the scores decide (`chooseTotal`). A plan that
 * keeps everything scores nothing.
 *
 * Memory: the scores (4 bytes a pair) and the kept positions (4 bytes a kept pair); keys and
 * values are seen a layer at a time and never held.
 *
 * @module
 */
import { type DenseLayerKv, gatherRagged, KvaultError, type KvShape } from "@kvault/core";
import { largestRemainder } from "./allocators/largest-remainder.ts";
import type { CompressionPlan } from "./plan.ts";
import { type MatMul, plainMatMul } from "./refit/mat-mul.ts";
import { roundHalfEven } from "./round-half-even.ts";
import type { EncodableLayer, ModelProfile, Refit, ScorerLayer, ScoreSet } from "./types.ts";

/** A context to select from; `layer(l)` is called once per layer, ascending, and its arrays may be reused after. */
export interface ScoreSource extends KvShape {
  readonly seqLen: number;
  /** Leading template tokens, always kept. */
  readonly prefixTokens: number;
  /** What {@link CompressionPlan.profiles} names. */
  readonly profile?: ModelProfile;
  layer(layer: number): ScorerLayer;
}

/** Which pairs of a context are kept. */
export interface Selection extends KvShape {
  readonly seqLen: number;
  readonly prefixTokens: number;
  /** `[L·K + 1]`: row (l, k) of `position_n` is `offset_LK[l·K + k] … offset_LK[l·K + k + 1]`. */
  readonly offset_LK: Uint32Array;
  /** Kept positions, ascending within a row. */
  readonly position_n: Uint32Array;
  /** Scores of the kept pairs where the codec needs them; the prefix above all others of its row. */
  readonly score_n?: Float32Array;
  /** Where layers read the pairs of others: for each layer the one whose keys and values its rows are of. */
  readonly source_L?: Uint32Array;
}

/** The layer whose keys and values layer `layer` keeps: itself, or the one it reads. */
export function sourceLayer({ source_L }: Selection, layer: number): number {
  return source_L?.[layer] ?? layer;
}

/** A selection in numbers. */
export interface SelectionReport {
  readonly totalPairs: number;
  /** Pairs that could have been evicted: all but the prefix. */
  readonly rankedPairs: number;
  readonly keptPairs: number;
  readonly keptRankedPairs: number;
  /** Kept ÷ ranked, prefix not counted; 1 where nothing was ranked. */
  readonly keepRatio: number;
  /** Keys and values of all pairs at 2 bytes a value. */
  readonly rawBytesF16: number;
  /** `[L·K]` kept pairs per layer and head, prefix included. */
  readonly kept_LK: Uint32Array;
}

/** Scores, allocates and selects. Throws INTERNAL when a scorer gives a value that is not finite. */
export function selectPairs(plan: CompressionPlan, source: ScoreSource): Selection {
  const selection = selectOwnPairs(plan, source);
  const source_L = plan.allocator.sourceLayers?.(source);
  return source_L === undefined ? selection : shareLayers(selection, source_L);
}

/** The rows of every layer replaced by those of the layer it reads. */
function shareLayers(selection: Selection, source_L: Uint32Array): Selection {
  const { numLayers, numKvHeads, offset_LK, score_n } = selection;
  const own = Array.from({ length: numLayers }, (_, l) => layerRows(selection, source_L[l]));
  const offset = new Uint32Array(offset_LK.length);
  let count = 0;
  for (const [l, rows] of own.entries()) {
    for (let k = 0; k < numKvHeads; k++) offset[l * numKvHeads + k + 1] = count + rows.offset[k + 1];
    count += rows.position_n.length;
  }
  const position = new Uint32Array(count);
  const score = new Float32Array(score_n === undefined ? 0 : count);
  for (const [l, rows] of own.entries()) {
    position.set(rows.position_n, offset[l * numKvHeads]);
    if (rows.score_n !== undefined) score.set(rows.score_n, offset[l * numKvHeads]);
  }
  const shared = { ...selection, offset_LK: offset, position_n: position, source_L };
  return score_n === undefined ? shared : { ...shared, score_n: score };
}

function selectOwnPairs(plan: CompressionPlan, source: ScoreSource): Selection {
  const { numLayers, numKvHeads, headDim, seqLen, prefixTokens } = source;
  if (prefixTokens > seqLen) throw new RangeError(`Cannot select pairs: prefix of ${prefixTokens} tokens in ${seqLen}`);
  const numRows = numLayers * numKvHeads;
  const rankedPairs = numRows * (seqLen - prefixTokens);
  const maxBudget = roundHalfEven(plan.keepRatio * rankedPairs);
  const shape = { numLayers, numKvHeads, headDim, seqLen };
  const needsScores = plan.codec.needs?.has("scores") ?? false;
  if (rankedPairs === 0 || (!plan.evicts && !needsScores)) {
    const all = { ...shape, prefixTokens, ...everyPair(numRows, seqLen) };
    return needsScores ? { ...all, score_n: new Float32Array(all.position_n.length) } : all;
  }
  const scores = scoreLayers(plan, source);
  if (plan.selector.sharesLayer) shareScoresInPlace(scores);
  const { totalBudget, headBudget_LK } = allocateBudget(plan, scores, prefixTokens, maxBudget);
  const offset_LK = new Uint32Array(numRows + 1);
  const position_n = new Uint32Array(numRows * prefixTokens + totalBudget);
  for (let row = 0; row < numRows; row++) {
    const score_S = scores.score_LKS.subarray(row * seqLen, (row + 1) * seqLen);
    const kept_n = plan.selector.select(score_S, prefixTokens, headBudget_LK[row]);
    position_n.set(kept_n, offset_LK[row]);
    offset_LK[row + 1] = offset_LK[row] + kept_n.length;
  }
  const selection = { ...shape, prefixTokens, offset_LK, position_n };
  return needsScores ? { ...selection, score_n: keptScores(selection, scores.score_LKS) } : selection;
}

/** Scores of the kept pairs, those of the prefix one above the best of the row. */
function keptScores({ seqLen, prefixTokens, offset_LK, position_n }: Selection, score_LKS: Float32Array): Float32Array {
  const score_n = new Float32Array(position_n.length);
  for (let row = 0; row + 1 < offset_LK.length; row++) {
    let max = 0;
    for (let n = offset_LK[row] + prefixTokens; n < offset_LK[row + 1]; n++) {
      score_n[n] = score_LKS[row * seqLen + position_n[n]];
      if (score_n[n] > max) max = score_n[n];
    }
    score_n.fill(max + 1, offset_LK[row], offset_LK[row] + prefixTokens);
  }
  return score_n;
}

/** Scores of every layer, `[layer, kvHead, seq]`, all finite. */
export function scoreLayers(plan: Pick<CompressionPlan, "scorer">, source: ScoreSource): ScoreSet {
  const { numLayers, numKvHeads, headDim, seqLen } = source;
  const perLayer = numKvHeads * seqLen;
  const score_LKS = new Float32Array(numLayers * perLayer);
  for (let l = 0; l < numLayers; l++) {
    const score_KS = score_LKS.subarray(l * perLayer, (l + 1) * perLayer);
    plan.scorer.score(source.layer(l), score_KS);
    checkFinite(score_KS, l, seqLen);
  }
  return {
    numLayers,
    numKvHeads,
    headDim,
    seqLen,
    score_LKS,
    ...(source.profile === undefined ? {} : { profile: source.profile }),
  };
}

/** Counts per head and their sum; the same for all heads of a layer where the selector shares positions. */
function allocateBudget(
  plan: CompressionPlan,
  scores: ScoreSet,
  prefixTokens: number,
  maxBudget: number,
): { readonly totalBudget: number; readonly headBudget_LK: Uint32Array } {
  const { numLayers: L, numKvHeads: K, seqLen } = scores;
  const chosen = chooseTotal(plan, scores, prefixTokens, maxBudget);
  if (!plan.selector.sharesLayer) {
    return { totalBudget: chosen, headBudget_LK: plan.allocator.allocate(scores, prefixTokens, chosen) };
  }
  const totalTokens = roundHalfEven(chosen / K);
  const headBudget_LK = plan.allocator.allocate(scores, prefixTokens, totalTokens * K);
  const mean_L = new Float64Array(L);
  for (let row = 0; row < L * K; row++) mean_L[Math.floor(row / K)] += headBudget_LK[row] / K;
  const tokens_L = largestRemainder(mean_L, totalTokens, 0, seqLen - prefixTokens);
  return { totalBudget: totalTokens * K, headBudget_LK: headBudget_LK.map((_, row) => tokens_L[Math.floor(row / K)]) };
}

/** Replaces every head's scores by the mean over the heads of its layer. */
function shareScoresInPlace({ numLayers, numKvHeads: K, seqLen: S, score_LKS }: ScoreSet): void {
  for (let l = 0; l < numLayers; l++) {
    const score_KS = score_LKS.subarray(l * K * S, (l + 1) * K * S);
    for (let s = 0; s < S; s++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += score_KS[k * S + s];
      score_KS[s] = sum / K;
    }
    for (let k = 1; k < K; k++) score_KS.copyWithin(k * S, 0, S);
  }
}

/** The keep ratio's count, or what a part makes of the scores, whichever is least. */
function chooseTotal(plan: CompressionPlan, scores: ScoreSet, prefixTokens: number, maxBudget: number): number {
  const bySelector = plan.selector.chooseTotal?.(scores, prefixTokens, maxBudget) ?? maxBudget;
  return plan.allocator.chooseTotal?.(scores, prefixTokens, bySelector) ?? bySelector;
}

/** Layer `layer` of a selection as the CSR offsets, positions and scores of its own rows; positions and scores are shared. */
export function layerRows(
  selection: Selection,
  layer: number,
): { offset: Uint32Array; position_n: Uint32Array; score_n?: Float32Array } {
  const { numKvHeads, offset_LK, position_n, score_n } = selection;
  const first = layer * numKvHeads;
  const start = offset_LK[first];
  const offset = new Uint32Array(numKvHeads + 1);
  for (let k = 0; k <= numKvHeads; k++) offset[k] = offset_LK[first + k] - start;
  const end = offset_LK[first + numKvHeads];
  const scores = score_n === undefined ? {} : { score_n: score_n.subarray(start, end) };
  return { offset, position_n: position_n.subarray(start, end), ...scores };
}

/** The kept pairs of a dense layer ({@link sourceLayer}'s), and their scores where the selection has them. Shares `dense`'s memory where every pair is kept, copies otherwise. */
export function keepRows(selection: Selection, layer: number, dense: DenseLayerKv): EncodableLayer {
  const { offset, position_n, ...scores } = layerRows(selection, layer);
  const { numKvHeads, seqLen, headDim, key_KSD, value_KSD } = dense;
  if (numKvHeads !== selection.numKvHeads || seqLen !== selection.seqLen) {
    throw new RangeError(
      `Cannot keep rows of layer ${layer}: selected from [${selection.numKvHeads}, ${selection.seqLen}], found [${numKvHeads}, ${seqLen}]`,
    );
  }
  if (position_n.length < numKvHeads * seqLen) return { ...gatherRagged(dense, offset, position_n), ...scores };
  return { numKvHeads, headDim, offset, position_n, key_nD: key_KSD, value_nD: value_KSD, ...scores };
}

/** Kept pairs of a dense layer with values refitted to sampled queries `[kvHead, m, headDim]`; the rest is shared with `kept`. */
export async function refitRows(
  refit: Refit,
  dense: DenseLayerKv,
  kept: EncodableLayer,
  query_KMD: Float32Array,
  matMul: MatMul = plainMatMul,
): Promise<EncodableLayer> {
  return { ...kept, value_nD: await refit.refitValues({ dense, kept, query_KMD }, matMul) };
}

/** A selection in numbers. */
export function reportSelection(selection: Selection): SelectionReport {
  const { numLayers, numKvHeads, headDim, seqLen, prefixTokens, offset_LK, position_n } = selection;
  const numRows = numLayers * numKvHeads;
  const totalPairs = numRows * seqLen;
  const rankedPairs = numRows * (seqLen - prefixTokens);
  const keptRankedPairs = position_n.length - numRows * prefixTokens;
  const kept_LK = new Uint32Array(numRows);
  for (let row = 0; row < numRows; row++) kept_LK[row] = offset_LK[row + 1] - offset_LK[row];
  return {
    totalPairs,
    rankedPairs,
    keptPairs: position_n.length,
    keptRankedPairs,
    keepRatio: rankedPairs === 0 ? 1 : keptRankedPairs / rankedPairs,
    rawBytesF16: totalPairs * headDim * 2 * 2,
    kept_LK,
  };
}

function everyPair(numRows: number, S: number): { offset_LK: Uint32Array; position_n: Uint32Array } {
  const offset_LK = new Uint32Array(numRows + 1);
  const position_n = new Uint32Array(numRows * S);
  for (let row = 0; row < numRows; row++) {
    offset_LK[row + 1] = (row + 1) * S;
    for (let s = 0; s < S; s++) position_n[row * S + s] = s;
  }
  return { offset_LK, position_n };
}

function checkFinite(score_KS: Float32Array, layer: number, S: number): void {
  for (let i = 0; i < score_KS.length; i++) {
    if (score_KS[i] - score_KS[i] !== 0) {
      const kvHead = Math.floor(i / S);
      throw new KvaultError(
        "INTERNAL",
        `Cannot rank layer ${layer}: found score ${score_KS[i]} at head ${kvHead}, position ${i % S}`,
        {
          details: { layer, kvHead, position: i % S },
        },
      );
    }
  }
}
