/**
 * What an engine can do with one model: prefill, the repeat pass, shared-context steps.
 *
 * Every method runs ONNX Runtime on the calling thread, so this lives in an engine process,
 * never in a supervisor. Between two runs it yields to the event loop, where cancellations
 * and new queries arrive.
 *
 * @module
 */
import type { MatMul, RepeatPass } from "@kvault/compression";
import type { DenseLayerKv } from "@kvault/core";
import type { ContextPrompt, ModelConfig, ModelIdentity, PromptBuilder, TokenDecoder } from "@kvault/model";
import type { NormalSums } from "./calibration/ridge.ts";

export interface RunOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (doneTokens: number, totalTokens: number) => void;
  /** Awaited between two runs in place of a plain yield to the event loop: the engine lets others run. */
  readonly betweenRuns?: () => Promise<void>;
}

/** A pass whose queries may be sampled. */
export interface QueryOptions extends RunOptions {
  /** Keep this many rotated queries of each KV head's group, drawn from all of the pass. */
  readonly numQueries?: number;
}

export interface RepeatResult {
  /** Per layer `[kvHead, seq]`: the most attention each position received from the repetition. */
  readonly attention: readonly Float32Array[];
  /** Per layer `[kvHead, m, headDim]`, where asked for. */
  readonly queries?: readonly Float32Array[] | undefined;
}

/** Rows of a growing cache, as whoever keeps or restores them sees them. */
export interface CacheRows {
  readonly numLayers: number;
  /** Tokens of the whole context, prefix included. */
  readonly seqLen: number;
  /** Views of one layer's keys and values of tokens `[from, to)`, `[to - from, K·D]` each. */
  rowsOf(layer: number, from: number, to: number): { readonly keys: Float32Array; readonly values: Float32Array };
}

/** Keeps what prefill has done, for a builder that goes on where another one died. */
export interface PrefillCheckpoints {
  /** Fills the rows of tokens that were kept; how many from the start, a multiple of `chunkTokens` below `seqLen`. */
  restore(rows: CacheRows, chunkTokens: number): Promise<number>;
  /** Told after every run: the first `tokens` tokens are there. */
  reached(rows: CacheRows, tokens: number, chunkTokens: number): Promise<void>;
}

/** What prefill observes on the way, reduced inside the graph. */
export interface PrefillOptions extends QueryOptions {
  /** Not used while anything is observed: what observers gathered is not kept. */
  readonly checkpoints?: PrefillCheckpoints;
  /** Mean and covariance of the queries of positions from this one on. */
  readonly momentsFrom?: number;
  /** Predict log scores of every pair. */
  readonly surrogate?: SurrogateWeights;
}

/** A linear map from normed hidden states to log KVzip scores, standardisation folded in. */
export interface SurrogateWeights {
  /** `[layer, hidden, kvHead]`. */
  readonly weight_LMK: Float32Array;
  /** `[layer, kvHead]`. */
  readonly bias_LK: Float32Array;
}

/** Of one layer's queries before rotation. */
export interface QueryMoments {
  readonly mean_HD: Float32Array;
  /** Divided by their count; all 0 where there are none. */
  readonly covariance_HDD: Float32Array;
}

export interface ModelRunner {
  readonly config: ModelConfig;
  readonly identity: ModelIdentity;
  readonly prompts: PromptBuilder;
  readonly tokens: TokenDecoder;
  /** Reads prefix and context once, in chunks. */
  prefill(prompt: ContextPrompt, options?: PrefillOptions): Promise<PrefilledContext>;
  /** Lets the model repeat the context, which it sees whole. */
  repeatPass(context: PrefilledContext, pass: RepeatPass, options?: QueryOptions): Promise<RepeatResult>;
  /**
   * Per layer `[queryHead, seq]`: the attention that the context's last `windowTokens` tokens pay
   * to each position, summed. They are read once more; `Infinity` reads all.
   */
  windowAttention(context: PrefilledContext, windowTokens: number, options?: RunOptions): Promise<readonly Float32Array[]>;
  /** Matrix products, for work beside the model. */
  matMul(): Promise<MatMul>;
  /** Loads what {@link openStepBatch} runs on, so that the first question does not wait for it. */
  prepareSteps(): Promise<void>;
  /** A batch of sequences that read one resident context. */
  openStepBatch(context: ResidentContext): StepBatch;
  close(): Promise<void>;
}

/** A runner that can also be measured for a surrogate (calibration/). */
export interface TrainableRunner extends ModelRunner {
  /** Reads a context and adds its hidden states and these targets (`[kvHead, seq]` per layer) to `sums`. */
  addToFit(
    prompt: ContextPrompt,
    targets: readonly Float32Array[],
    sums: readonly NormalSums[],
    options?: RunOptions,
  ): Promise<void>;
}

/** The uncompressed cache of a context, until released. */
export interface PrefilledContext {
  readonly prompt: ContextPrompt;
  /** Prefix and context tokens. */
  readonly seqLen: number;
  /** Logits after the last context token. */
  readonly lastLogits_V: Float32Array;
  /** Per layer, where prefill was asked for them. */
  readonly moments?: readonly QueryMoments[] | undefined;
  /** Per layer `[kvHead, m, headDim]` sampled queries, where prefill was asked for them. */
  readonly queries?: readonly Float32Array[] | undefined;
  /** `[kvHead, seq]` predicted log scores per layer, where prefill was given a surrogate. */
  readonly surrogate?: readonly Float32Array[] | undefined;
  /** A fresh head-major copy of one layer. */
  layer(layer: number): DenseLayerKv;
  release(): void;
}

/** K/V of a context as the step graph reads them: immutable, shared by every batch. */
export interface ResidentContext {
  /** Position of the first token after the context: its original length, not its kept count. */
  readonly nextPosition: number;
  readonly keptPairs: number;
  /** Bytes held in memory. */
  readonly bytes: number;
}

/** One sequence of a batch: what followed the context so far. */
export interface StepSequence {
  /** Suffix tokens already read. */
  readonly length: number;
}

export interface StepInput {
  readonly sequence: StepSequence;
  /** New tokens, at least one; lengths may differ between the inputs of a run. */
  readonly ids: readonly number[];
}

export interface StepBatch {
  readonly size: number;
  /** Adds a sequence with an empty suffix. */
  add(): StepSequence;
  /** Drops a sequence and the K/V of its suffix. */
  remove(sequence: StepSequence): void;
  /** Appends each input's ids and returns the logits `[V]` after its last id, in input order, valid until the next run. */
  run(inputs: readonly StepInput[]): Promise<Float32Array[]>;
  close(): void;
}
