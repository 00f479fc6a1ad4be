/**
 * Measures a model for the methods that rest on it: one {@link Profile} for each name.
 *
 * What is slow is kept step by step (kept-results.ts), so a calibration that was killed repeats
 * one step at most, and the surrogate's fit. The same model, texts, seed and machine give the
 * same bytes.
 *
 * Cost, in readings of a text: surrogate 5, kvzip-heads 3 (the surrogate's, when both are made),
 * layer-errors, baklava-heads and duo-heads 1 each at most, the others less.
 *
 * @module
 */
import { type Profile, type ProfileName, resolveSpec } from "@kvault/compression";
import { createRng, invalidArgument } from "@kvault/core";
import { type ContextPrompt, globalLayers } from "@kvault/model";
import type { RunOptions, TrainableRunner } from "../model-runner.ts";
import { STUDY_QUERIES, studyHeads } from "./head-study.ts";
import { KeptResults } from "./kept-results.ts";
import { ERROR_WINDOW, layerShares, measureLayerErrors } from "./layer-errors.ts";
import { searchLayerMap } from "./layer-map.ts";
import { NEEDLES_PER_TEXT, scoreRetrievalHeads } from "./retrieval-heads.ts";
import { emptySums } from "./ridge.ts";
import { LOWEST_SCORE, solveSurrogate, surrogateProfile } from "./surrogate.ts";
import type { CalibrationText } from "./texts.ts";

/** Context tokens of a text that are read; what follows is not. Fewer where the model holds fewer. */
const TEXT_TOKENS = 4096;
/** Fewer say nothing. */
const MIN_TEXT_TOKENS = 256;
/** Tokens of the repetition's own prompt and of the template, generously. */
const PROMPT_TOKENS = 128;
/** Ridge of the surrogate per row: few texts need a larger one. */
const LAMBDA = 1e-2;

/** How each profile is made, in its metadata; a change of the measurement changes its version. */
const METHODS: Readonly<Record<ProfileName, string>> = {
  surrogate: `surrogate/1: ridge(lambda=${LAMBDA}) of log KVzip scores (chunk=2000, paper form) on normed hidden states`,
  "kvzip-heads": "kvzip-heads/1: largest KVzip score of a head",
  "retrieval-heads": `retrieval-heads/1: attention on a planted sentence while it is repeated, ${NEEDLES_PER_TEXT} a text`,
  "layer-errors": "layer-errors/1: output error of a layer that keeps 32 tokens, before the output projection",
  "baklava-heads": "baklava-heads/1: 1 - cosine of a query's own value and the head's output",
  "duo-heads": "duo-heads/1: output error of a head that sees 128 first and 256 last tokens",
  "layer-map": "layer-map/1: most unlike layers first, at most 4, cosine of logits above 0.5",
};

export interface CalibrationRequest {
  /** Name in the catalogue. */
  readonly model: string;
  readonly profiles: readonly ProfileName[];
  readonly texts: readonly CalibrationText[];
  readonly seed: number;
  /** Where the results of steps are kept until all is done. */
  readonly workFolder: string;
}

export interface CalibrationProgress {
  readonly profile: ProfileName;
  /** Steps of all profiles. */
  readonly done: number;
  readonly total: number;
}

export interface CalibrationOptions extends Pick<RunOptions, "signal"> {
  readonly onProgress?: (progress: CalibrationProgress) => void;
  /** Called with each profile when it is made. */
  readonly onProfile: (profile: Profile) => Promise<void>;
}

/** Makes `request.profiles`, in an order in which those that rest on others come later. INVALID_ARGUMENT for a text of too few tokens. */
export async function calibrate(
  runner: TrainableRunner,
  request: CalibrationRequest,
  options: CalibrationOptions,
): Promise<void> {
  const { signal, onProgress, onProfile } = options;
  const { model, texts, seed } = request;
  const { weightsSha256 } = runner.identity;
  const inputs = texts.map((text) => promptOf(runner, text));
  const kept = new KeptResults(request.workFolder, { weightsSha256, seed: String(seed), tokens: String(TEXT_TOKENS) });
  const names = orderOf(request.profiles);
  const total = names.reduce((sum, name) => sum + (name === "surrogate" ? 2 * texts.length : stepsOf(name, texts.length)), 0);
  let done = 0;
  const run = new Calibration(runner, inputs, kept, seed, signal === undefined ? {} : { signal });
  for (const name of names) {
    const step = (): void => onProgress?.({ profile: name, done: Math.min(++done, total), total });
    onProgress?.({ profile: name, done, total });
    const { shape, values } = await run.make(name, step);
    await onProfile({
      ...{ name, model, weightsSha256, seed, shape, values, method: METHODS[name] },
      texts: inputs.map(({ text, prompt }) => ({ name: text.name, sha256: text.sha256, tokens: prompt.contextIds.length })),
    });
  }
  await kept.clear();
}

interface Input {
  readonly text: CalibrationText;
  readonly prompt: ContextPrompt;
}

interface Made {
  readonly shape: readonly number[];
  readonly values: Float32Array;
}

class Calibration {
  private readonly runner: TrainableRunner;
  private readonly inputs: readonly Input[];
  private readonly kept: KeptResults;
  private readonly seed: number;
  private readonly options: Pick<RunOptions, "signal">;

  constructor(
    runner: TrainableRunner,
    inputs: readonly Input[],
    kept: KeptResults,
    seed: number,
    options: Pick<RunOptions, "signal">,
  ) {
    this.runner = runner;
    this.inputs = inputs;
    this.kept = kept;
    this.seed = seed;
    this.options = options;
  }

  /** Calls `step` after each step. */
  async make(name: ProfileName, step: () => void): Promise<Made> {
    const { numKvHeads: K, numQueryHeads: H, hiddenSize: M, numLayers } = this.runner.config;
    const L = globalLayers(this.runner.config).length;
    switch (name) {
      case "surrogate":
        return { shape: [numLayers, M + 1, K], values: await this.surrogate(step) };
      case "kvzip-heads":
        return { shape: [L, K], values: await this.kvzipHeads(step) };
      case "retrieval-heads":
        return { shape: [L, H], values: await this.retrievalHeads(step) };
      case "layer-errors":
        return { shape: [L], values: await this.layerErrors(step) };
      case "baklava-heads":
        return { shape: [L, K], values: mean(await this.headStudies(0, step)) };
      case "duo-heads":
        return { shape: [L, K], values: mean(await this.headStudies(1, step)) };
      case "layer-map":
        return { shape: [L], values: await this.layerMap(step) };
      default:
        return name satisfies never;
    }
  }

  private async surrogate(step: () => void): Promise<Float32Array> {
    const { config } = this.runner;
    const sums = Array.from({ length: config.numLayers }, () => emptySums(config.hiddenSize, config.numKvHeads));
    for (const input of this.inputs) {
      const attention = await this.kvzipScores(input);
      step();
      const layers = globalLayers(config);
      const targets = Array.from({ length: config.numLayers }, (_, layer) => {
        const score_KS = attention[layers.indexOf(layer)];
        return score_KS === undefined ? new Float32Array(0) : score_KS.map((score) => Math.log(Math.max(score, LOWEST_SCORE)));
      });
      await this.runner.addToFit(input.prompt, targets, sums, this.options);
      step();
    }
    return surrogateProfile(solveSurrogate(sums, LAMBDA, config), config);
  }

  private async kvzipHeads(step: () => void): Promise<Float32Array> {
    const { numKvHeads: K } = this.runner.config;
    const most_LK = new Float32Array(globalLayers(this.runner.config).length * K);
    for (const input of this.inputs) {
      for (const [l, score_KS] of (await this.kvzipScores(input)).entries()) {
        const S = score_KS.length / K;
        for (let i = 0; i < score_KS.length; i++) {
          const row = l * K + Math.floor(i / S);
          most_LK[row] = Math.max(most_LK[row], score_KS[i]);
        }
      }
      step();
    }
    return most_LK;
  }

  /** Of every global layer `[kvHead, seq]`. */
  private kvzipScores({ text, prompt }: Input): Promise<readonly Float32Array[]> {
    return this.kept.get("kvzip-scores", { text: text.sha256 }, async () => {
      const { repeatPass } = resolveSpec("kvzip");
      const context = await this.runner.prefill(prompt, this.options);
      const repeated = await this.runner.repeatPass(context, repeatPass!, this.options).finally(() => context.release());
      return globalLayers(this.runner.config).map((layer) => repeated.attention[layer]);
    });
  }

  private async retrievalHeads(step: () => void): Promise<Float32Array> {
    const scores: Float32Array[] = [];
    for (const [i, { text }] of this.inputs.entries()) {
      const [score_LH] = await this.kept.get("retrieval-heads", { text: text.sha256, at: String(i) }, async () => [
        await scoreRetrievalHeads(this.runner, text.text, createRng(this.seed + i), this.options),
      ]);
      scores.push(score_LH);
      step();
    }
    return mean(scores).map((score) => score / NEEDLES_PER_TEXT);
  }

  private async layerErrors(step: () => void): Promise<Float32Array> {
    const retrieval_LH = await this.retrievalHeads(() => undefined);
    const errors: Float32Array[] = [];
    for (const { text, prompt } of this.inputs) {
      const [error_L] = await this.kept.get("layer-errors", { text: text.sha256 }, async () => {
        const context = await this.runner.prefill(prompt, { ...this.options, numQueries: STUDY_QUERIES });
        try {
          const window = await this.runner.windowAttention(context, ERROR_WINDOW, this.options);
          return [await measureLayerErrors(this.runner, context, window, retrieval_LH, await this.runner.matMul())];
        } finally {
          context.release();
        }
      });
      errors.push(error_L);
      step();
    }
    return layerShares(errors);
  }

  /** What `studyHeads` says of every text: 0 BaKlaVa's measure, 1 DuoAttention's. */
  private async headStudies(which: 0 | 1, step: () => void): Promise<Float32Array[]> {
    const found: Float32Array[] = [];
    for (const { text, prompt } of this.inputs) {
      const study = await this.kept.get("head-study", { text: text.sha256 }, async () => {
        const context = await this.runner.prefill(prompt, { ...this.options, numQueries: STUDY_QUERIES });
        try {
          const { baklava_LK, duo_LK } = await studyHeads(this.runner, context, await this.runner.matMul());
          return [baklava_LK, duo_LK];
        } finally {
          context.release();
        }
      });
      found.push(study[which]);
      step();
    }
    return found;
  }

  private async layerMap(step: () => void): Promise<Float32Array> {
    const texts = this.inputs.map(({ text }) => text.text);
    const [map] = await this.kept.get("layer-map", { texts: this.inputs.map(({ text }) => text.sha256).join(" ") }, async () => [
      await searchLayerMap(this.runner, texts, this.options),
    ]);
    step();
    return map;
  }
}

function promptOf(runner: TrainableRunner, text: CalibrationText): Input {
  const { prefixIds, contextIds } = runner.prompts.context({ text: text.text });
  if (contextIds.length < MIN_TEXT_TOKENS) {
    const found = `it has ${contextIds.length} tokens, at least ${MIN_TEXT_TOKENS} are needed`;
    throw invalidArgument("text", `Cannot calibrate on "${text.name}": ${found}`);
  }
  return { text, prompt: { prefixIds, contextIds: contextIds.slice(0, longestText(runner.config.maxTokens)) } };
}

/** So many tokens that the text and the longest piece of its repetition fit the model. */
function longestText(maxTokens: number): number {
  const { repeatPass } = resolveSpec("kvzip");
  const room = maxTokens - PROMPT_TOKENS;
  return Math.min(TEXT_TOKENS, Math.max(room - repeatPass!.chunkTokens, Math.floor(room / 2)));
}

/** Without repetition; those that share slow steps side by side. */
function orderOf(names: readonly ProfileName[]): ProfileName[] {
  const order = Object.keys(METHODS) as ProfileName[];
  return order.filter((name) => names.includes(name));
}

function stepsOf(name: ProfileName, texts: number): number {
  return name === "layer-map" ? 1 : texts;
}

function mean(rows: readonly Float32Array[]): Float32Array {
  return rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
}
