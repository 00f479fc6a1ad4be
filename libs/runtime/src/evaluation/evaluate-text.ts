/**
 * One text of the evaluation: read and repeated once, then every cell from what was gathered.
 *
 * @module
 */
import {
  type DecodedLayer,
  decodeLayer,
  encodeLayer,
  findProfiles,
  keepRows,
  type ProfileStore,
  refitRows,
  resolveSpec,
  selectPairs,
  sourceLayer,
} from "@kvault/compression";
import { type ContextPrompt, ropeFrequencies } from "@kvault/model";
import { RunLoop } from "../batching/run-loop.ts";
import { surrogateWeights } from "../calibration/surrogate.ts";
import { gatherScoreSource, inputsOf } from "../engine/score-source.ts";
import { withWindows } from "../engine/with-windows.ts";
import type { ModelRunner, PrefilledContext, RepeatResult } from "../model-runner.ts";
import { fullLayer, residentContext } from "../resident-context.ts";
import { greedyAnswers } from "../testing/greedy.ts";
import { type GivenAnswer, type Score, scoreContext } from "./ask.ts";
import type { Cell } from "./cells.ts";
import { GENERAL_QUESTIONS, type NeedleQuestion, plantCodes } from "./questions.ts";

const SEED = 11;
const QUERIES = 1000;
const ANSWER_TOKENS = 64;
/** What Expected Attention leaves out by default. */
const MOMENTS_FROM = resolveSpec("expected-attention").scorer.momentsFrom ?? 0;

export interface CellResult extends Score {
  readonly cell: string;
  readonly contextTokens: number;
  /** Bytes of the encoded parts, where the codec is not for study only. */
  readonly storedBytes: number;
}

export class TextEvaluation {
  private readonly runner: ModelRunner;
  private readonly context: PrefilledContext;
  private readonly needles: readonly NeedleQuestion[];
  private readonly answers: readonly GivenAnswer[];
  private readonly profiles: ProfileStore;
  private readonly model: string;
  private repeated: Promise<RepeatResult> | undefined;

  private constructor(
    runner: ModelRunner,
    context: PrefilledContext,
    needles: readonly NeedleQuestion[],
    answers: readonly GivenAnswer[],
    profiles: ProfileStore,
    model: string,
  ) {
    this.runner = runner;
    this.context = context;
    this.needles = needles;
    this.answers = answers;
    this.profiles = profiles;
    this.model = model;
  }

  /** Plants codes in `text`, reads it and lets the full context answer the general questions. */
  static async open(runner: ModelRunner, model: string, text: string, profiles: ProfileStore): Promise<TextEvaluation> {
    const planted = plantCodes(text, SEED, runner.prompts);
    const prompt: ContextPrompt = runner.prompts.context({ text: planted.text });
    const { weightsSha256 } = runner.identity;
    const { profile } = findProfiles(profiles, { name: model, weightsSha256 }, ["surrogate"]);
    const surrogate = surrogateWeights(profile.surrogate, runner.config);
    const context = await runner.prefill(prompt, { numQueries: QUERIES, surrogate, momentsFrom: MOMENTS_FROM });
    const layers = Array.from({ length: runner.config.numLayers }, (_, layer) => fullLayer(context.layer(layer)));
    const batch = runner.openStepBatch(residentContext(context.seqLen, layers));
    const questions = GENERAL_QUESTIONS.map((question) => runner.prompts.question(question));
    const ids = await greedyAnswers(batch, questions, ANSWER_TOKENS, runner.tokens.endIds);
    batch.close();
    const answers = questions.map((questionIds, i) => ({ questionIds, answerIds: ids[i] }));
    return new TextEvaluation(runner, context, planted.needles, answers, profiles, model);
  }

  async measure(cell: Cell): Promise<CellResult> {
    const { runner, context } = this;
    const plan = resolveSpec(cell.spec);
    const { weightsSha256 } = runner.identity;
    const { profile } = findProfiles(this.profiles, { name: this.model, weightsSha256 }, plan.profiles);
    const gathered = { ...inputsOf(plan, profile), refit: undefined };
    // Every pass is made once for all cells.
    const once: ModelRunner = { ...runner, repeatPass: () => this.repeatPass() };
    const { source } = await gatherScoreSource(gathered, new RunLoop(), once, context, {});
    const selection = withWindows(runner.config, selectPairs(plan, source));
    const queries = plan.refit?.queries === "repeat" ? (await this.repeatPass()).queries : context.queries;
    const matMul = await runner.matMul();
    const layers: DecodedLayer[] = [];
    let storedBytes = 0;
    for (let layer = 0; layer < runner.config.numLayers; layer++) {
      const dense = context.layer(sourceLayer(selection, layer));
      let kept = keepRows(selection, layer, dense);
      const query_KMD = queries?.[layer];
      if (plan.refit !== undefined && query_KMD !== undefined) kept = await refitRows(plan.refit, dense, kept, query_KMD, matMul);
      const parts = encodeLayer(plan.codec, { ...kept, ropeFrequencies: ropeFrequencies(runner.config, layer) });
      for (const part of parts) storedBytes += part.byteLength;
      layers.push(decodeLayer(plan.codecSpec, parts, { ...runner.config, seqLen: context.seqLen }));
    }
    const resident = residentContext(context.seqLen, layers);
    const score = await scoreContext(runner, resident, this.needles, this.answers);
    return { cell: cell.name, ...score, contextTokens: context.prompt.contextIds.length, storedBytes };
  }

  close(): void {
    this.context.release();
  }

  private repeatPass(): Promise<RepeatResult> {
    const { repeatPass } = resolveSpec("kvzip");
    this.repeated ??= this.runner.repeatPass(this.context, repeatPass!, { numQueries: QUERIES });
    return this.repeated;
  }
}
