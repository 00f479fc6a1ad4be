/**
 * A {@link ModelRunner} over ONNX Runtime: opens the weight file, prepares the graphs and
 * loads a session for each kind when it is first needed (every session holds its own packed
 * copy of the weights, so a decode worker never loads the prefill graphs).
 *
 * @module
 */
import { type DenseLayerKv, KvaultError } from "@kvault/core";
import {
  type Activations,
  type ContextPrompt,
  type GraphSet,
  identityOf,
  loadTokenizer,
  type ModelConfig,
  type ModelIdentity,
  type ObserverName,
  openGraphs,
  openWeights,
  readModelConfig,
} from "@kvault/model";
import { FitObserver } from "./calibration/fit-observer.ts";
import { type Device, type DeviceName, openDevice } from "./devices/device.ts";
import { yieldToEventLoop } from "./event-loop.ts";
import type { CacheRows, PrefilledContext, PrefillOptions, QueryMoments, RunOptions, TrainableRunner } from "./model-runner.ts";
import { MomentsObserver } from "./moments-observer.ts";
import { appendTokens, type ChunkObserver, PREFILL_CHUNK_TOKENS } from "./prefill.ts";
import { openProducts, type Products } from "./products.ts";
import { QuerySampler } from "./query-sampler.ts";
import { runRepeatPass } from "./repeat-pass.ts";
import { ContextTensors, fullLayer } from "./resident-context.ts";
import { f32Tensor, type Session } from "./session.ts";
import { SharedContextBatch } from "./step-batch.ts";
import { SurrogateObserver } from "./surrogate-observer.ts";
import { TokenCache } from "./token-cache.ts";
import { runWindowPass } from "./window-pass.ts";

export interface ModelRunnerOptions {
  /** GGUF file or folder of safetensors, verified by the hub. */
  readonly modelPath: string;
  readonly weightsSha256: string;
  /** Generated graphs live here. */
  readonly cacheDir: string;
  readonly numThreads: number;
  readonly activations: Activations;
  /** Where sessions run. @default "cpu" */
  readonly device?: DeviceName;
  /** What the catalogue pinned; a file that says otherwise is refused. */
  readonly expectedIdentity?: ModelIdentity;
  readonly signal?: AbortSignal;
}

/** Opens a model; the first time on a machine converts its weights (seconds). */
export async function openModelRunner(options: ModelRunnerOptions): Promise<TrainableRunner> {
  const { modelPath, weightsSha256, cacheDir, numThreads, activations, expectedIdentity, signal } = options;
  const device = openDevice(options.device ?? "cpu");
  const source = await openWeights(modelPath);
  try {
    const config = await readModelConfig(source);
    const identity = identityOf(source, config, weightsSha256);
    if (expectedIdentity !== undefined) checkIdentity(identity, expectedIdentity);
    const { prompts, tokens } = loadTokenizer(source);
    const graphs = await openGraphs(source, config, {
      cacheDir,
      weightsSha256,
      activations,
      ...(signal === undefined ? {} : { signal }),
    });
    const sessions = new SessionSet(graphs, device, numThreads);
    return {
      config,
      identity,
      prompts,
      tokens,
      async prefill(prompt, prefillOptions = {}) {
        const context = new TokenCacheContext(config, prompt, prefillOptions);
        await context.fill(await sessions.prefill(...context.observerNames), prefillOptions);
        return context;
      },
      async repeatPass(context, pass, runOptions = {}) {
        const { cache, prompt } = context as TokenCacheContext;
        const scores: ObserverName = pass.normalised ? "repeatContribution" : "repeatAttention";
        const observers: ObserverName[] = runOptions.numQueries === undefined ? [scores] : ["queries", scores];
        return runRepeatPass(await sessions.prefill(...observers), config, cache, prompt, prompts, pass, runOptions);
      },
      async windowAttention(context, windowTokens, runOptions = {}) {
        const { cache, ids } = context as TokenCacheContext;
        return runWindowPass(await sessions.prefill("windowAttention"), config, cache, ids, windowTokens, runOptions);
      },
      async addToFit(prompt, targets, sums, runOptions = {}) {
        const context = new TokenCacheContext(config, prompt, {});
        const observer = new FitObserver(config, targets, prompt.prefixIds.length, sums);
        const session = await sessions.prefill("normalEquations");
        await appendTokens(session, context.cache, context.ids, PREFILL_CHUNK_TOKENS, runOptions, [observer]);
        context.release();
      },
      matMul: () => sessions.products(),
      prepareSteps: () => sessions.warmSteps(config),
      openStepBatch: (context) => {
        const tensors = context as ContextTensors;
        return new SharedContextBatch(() => sessions.step(tensors.recalls), config, tensors);
      },
      close: () => sessions.close(),
    };
  } finally {
    await source.close();
  }
}

/** A burst of short questions, as one would be read. */
const WARM_QUESTIONS = 8;
const WARM_QUESTION_TOKENS = 20;
const WARM_RUNS = 2;

/** One session per graph, loaded at first use. */
class SessionSet {
  private readonly graphs: GraphSet;
  private readonly device: Device;
  private readonly numThreads: number;
  private readonly sessions = new Map<string, Promise<Session>>();
  private warmedSteps: Promise<void> | undefined;
  private openedProducts: Promise<Products> | undefined;
  private closed = false;

  constructor(graphs: GraphSet, device: Device, numThreads: number) {
    this.graphs = graphs;
    this.device = device;
    this.numThreads = numThreads;
  }

  /** The prefill graph with these observers. */
  prefill(...observers: readonly ObserverName[]): Promise<Session> {
    return this.open(["prefill", ...observers].join("+"), () => this.graphs.prefill(observers));
  }

  /** The step graph, or the one for contexts in clusters. */
  step(recalls = false): Promise<Session> {
    return this.open(recalls ? "step+recall" : "step", () => this.graphs.step({ recalls }));
  }

  /**
   * Loads the step graph and reads {@link WARM_QUESTIONS} questions on an empty context, once: the
   * first runs of a session touch its memory for the first time and take twice as long as later ones.
   */
  warmSteps(config: ModelConfig): Promise<void> {
    this.warmedSteps ??= this.step().then(async () => {
      const { numLayers, numKvHeads, headDim } = config;
      const zeros = (): Float32Array => new Float32Array(numKvHeads * headDim);
      const layers = Array.from({ length: numLayers }, () =>
        fullLayer({ numKvHeads, headDim, seqLen: 1, key_KSD: zeros(), value_KSD: zeros() }),
      );
      const batch = new SharedContextBatch(() => this.step(), config, new ContextTensors(1, layers));
      const questions = Array.from({ length: WARM_QUESTIONS }, () => ({
        sequence: batch.add(),
        ids: new Array<number>(WARM_QUESTION_TOKENS).fill(0),
      }));
      for (let run = 0; run < WARM_RUNS; run++) await batch.run(questions);
      batch.close();
    });
    this.warmedSteps.catch(() => {
      this.warmedSteps = undefined;
    });
    return this.warmedSteps;
  }

  /** Matrix products beside the model. */
  products(): Promise<Products> {
    this.openedProducts ??= openProducts({ numThreads: this.numThreads });
    return this.openedProducts;
  }

  async close(): Promise<void> {
    this.closed = true;
    await (await this.openedProducts)?.close();
    const sessions = await Promise.allSettled(this.sessions.values());
    this.sessions.clear();
    for (const session of sessions) if (session.status === "fulfilled") await session.value.close();
  }

  private open(kind: string, path: () => Promise<string>): Promise<Session> {
    if (this.closed) throw new KvaultError("CLOSED", "Cannot run model: it is closed");
    let session = this.sessions.get(kind);
    if (session === undefined) {
      session = path().then((file) => this.device.openSession(file, { numThreads: this.numThreads }));
      session.catch(() => this.sessions.delete(kind));
      this.sessions.set(kind, session);
    }
    return session;
  }
}

class TokenCacheContext implements PrefilledContext {
  readonly prompt: ContextPrompt;
  readonly seqLen: number;
  readonly lastLogits_V: Float32Array;
  readonly cache: TokenCache;
  /** Prefix and context. */
  readonly ids: Int32Array;
  private readonly momentsObserver: MomentsObserver | undefined;
  private readonly querySampler: QuerySampler | undefined;
  private readonly surrogateObserver: SurrogateObserver | undefined;

  constructor(config: ModelConfig, prompt: ContextPrompt, { momentsFrom, numQueries, surrogate }: PrefillOptions) {
    this.prompt = prompt;
    this.seqLen = prompt.prefixIds.length + prompt.contextIds.length;
    this.ids = new Int32Array(this.seqLen);
    this.ids.set(prompt.prefixIds);
    this.ids.set(prompt.contextIds, prompt.prefixIds.length);
    this.cache = new TokenCache(config, this.seqLen);
    this.lastLogits_V = new Float32Array(config.vocabSize);
    this.momentsObserver = momentsFrom === undefined ? undefined : new MomentsObserver(config, momentsFrom);
    this.querySampler = numQueries === undefined ? undefined : new QuerySampler(config, this.seqLen, numQueries);
    this.surrogateObserver = surrogate === undefined ? undefined : new SurrogateObserver(config, surrogate, this.seqLen);
  }

  get observerNames(): ObserverName[] {
    return [
      ...(this.momentsObserver === undefined ? [] : (["queryMoments"] as const)),
      ...(this.querySampler === undefined ? [] : (["queries"] as const)),
      ...(this.surrogateObserver === undefined ? [] : (["surrogateScore"] as const)),
    ];
  }

  get moments(): readonly QueryMoments[] | undefined {
    return this.momentsObserver?.result();
  }

  get queries(): readonly Float32Array[] | undefined {
    return this.querySampler?.result;
  }

  get surrogate(): readonly Float32Array[] | undefined {
    return this.surrogateObserver?.result;
  }

  async fill(session: Session, options: PrefillOptions): Promise<void> {
    const logits = { logits: f32Tensor(this.lastLogits_V, [1, this.lastLogits_V.length]) };
    const lastRow: ChunkObserver = { bind: () => ({ inputs: {}, outputs: logits }), collect: () => undefined };
    const optional = [this.momentsObserver, this.querySampler, this.surrogateObserver];
    const observers = [lastRow, ...optional.filter((observer) => observer !== undefined)];
    const { checkpoints, onProgress, betweenRuns = yieldToEventLoop } = options;
    if (checkpoints === undefined || this.observerNames.length > 0) {
      await appendTokens(session, this.cache, this.ids, PREFILL_CHUNK_TOKENS, options, observers);
      return;
    }
    const { cache, seqLen } = this;
    const rows: CacheRows = {
      numLayers: cache.shape.numLayers,
      seqLen,
      rowsOf: (layer, from, to) => cache.rowsOf(layer, from, to),
    };
    const restored = await checkpoints.restore(rows, PREFILL_CHUNK_TOKENS);
    cache.length = restored;
    const rest: RunOptions = {
      ...options,
      onProgress: (done) => onProgress?.(restored + done, seqLen),
      betweenRuns: async () => {
        await checkpoints.reached(rows, cache.length, PREFILL_CHUNK_TOKENS);
        await betweenRuns();
      },
    };
    await appendTokens(session, cache, this.ids.subarray(restored), PREFILL_CHUNK_TOKENS, rest, observers);
  }

  layer(layer: number): DenseLayerKv {
    return this.cache.dense(layer, this.seqLen);
  }

  release(): void {
    this.cache.release();
  }
}

function checkIdentity(found: ModelIdentity, expected: ModelIdentity): void {
  for (const field of Object.keys(expected) as (keyof ModelIdentity)[]) {
    if (found[field] !== expected[field]) {
      throw new KvaultError(
        "INCOMPATIBLE_MODEL",
        `Cannot use model: ${field} is "${found[field]}", expected "${expected[field]}"`,
        {
          details: { field, found: found[field], expected: expected[field] },
        },
      );
    }
  }
}
