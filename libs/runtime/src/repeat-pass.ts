/**
 * KVzip's scoring pass (arXiv:2505.23416): the model repeats the context chunk by chunk with
 * the whole cache before it; each position's score is the most attention it received.
 *
 * The graph reduces the score (libs/model prefill-graph.ts); here the repeat inputs are cut
 * into runs whose work arrays stay small, and the maxima of the runs are merged. Between
 * chunks the cache is cut back, so chunks do not see each other's repeats. Cost: one more
 * prefill whose attention is over the whole context, plus the scored columns.
 *
 * @module
 */
import { planRepeat, type RepeatPass } from "@kvault/compression";
import { type ContextPrompt, globalLayers, type ModelConfig, type PromptBuilder } from "@kvault/model";
import type { QueryOptions, RepeatResult } from "./model-runner.ts";
import { appendTokens, causalMask } from "./prefill.ts";
import { QuerySampler } from "./query-sampler.ts";
import { f32Tensor, i64Tensor, perLayer, type Session } from "./session.ts";
import type { TokenCache } from "./token-cache.ts";

/** Repeat tokens of one run: `K·G·T × columns` floats of work per layer, 60 MB for 14 heads and 4,300 columns. */
const REPEAT_RUN_TOKENS = 256;

/** Attention per layer `[kvHead, seqLen]`, 0 where no column was scored; empty for windowed layers. */
export async function runRepeatPass(
  session: Session,
  config: ModelConfig,
  cache: TokenCache,
  { prefixIds, contextIds }: ContextPrompt,
  prompts: PromptBuilder,
  pass: RepeatPass,
  options: QueryOptions,
): Promise<RepeatResult> {
  const { numKvHeads } = config;
  const layers = globalLayers(config);
  const seqLen = cache.length;
  const prefixTokens = prefixIds.length;
  const chunks = planRepeat(pass, {
    contextIds,
    prefixTokens,
    postfixIds: prompts.postfixIds,
    encode: (text) => prompts.encode(text),
  });
  const totalTokens = chunks.reduce((sum, chunk) => sum + chunk.inputIds.length, 0);
  const { numQueries } = options;
  const sampler = numQueries === undefined ? undefined : new QuerySampler(config, totalTokens, numQueries);
  const score_L = Array.from({ length: config.numLayers }, () => new Float32Array(0));
  for (const layer of layers) score_L[layer] = new Float32Array(numKvHeads * seqLen);
  cache.reserve(seqLen + Math.max(...chunks.map((chunk) => chunk.inputIds.length)));
  let doneTokens = 0;
  try {
    for (const { inputIds, start, end, sinkTokens } of chunks) {
      const columns = end - start;
      const bounds = {
        sinkEnd: i64Tensor([sinkTokens]),
        chunkStart: i64Tensor([start]),
        chunkEnd: i64Tensor([end]),
        contextEnd: i64Tensor([seqLen]),
      };
      const outputs = perLayer(layers, "repeatAttention", () => new Float32Array(numKvHeads * columns), [numKvHeads, columns]);
      const progress = { ...options, onProgress: (done: number) => options.onProgress?.(doneTokens + done, totalTokens) };
      await appendTokens(session, cache, inputIds, REPEAT_RUN_TOKENS, progress, [
        {
          bind: (_, tokens) => ({
            inputs: { ...bounds, causal: f32Tensor(causalMask(tokens), [tokens, tokens]) },
            outputs,
          }),
          collect() {
            for (const layer of layers) {
              const run_KC = outputs[`repeatAttention.${layer}`].data as Float32Array;
              mergeMaximum(score_L[layer], run_KC, numKvHeads, seqLen, start, columns);
            }
          },
        },
        ...(sampler === undefined ? [] : [sampler]),
      ]);
      cache.truncate(seqLen);
      doneTokens += inputIds.length;
    }
  } finally {
    cache.truncate(seqLen);
  }
  return { attention: score_L, queries: sampler?.result };
}

/** `score_KS[k, start + c] = max(…, run_KC[k, c])`. */
function mergeMaximum(
  score_KS: Float32Array,
  run_KC: Float32Array,
  numKvHeads: number,
  seqLen: number,
  start: number,
  columns: number,
): void {
  for (let k = 0; k < numKvHeads; k++) {
    const base = k * seqLen + start;
    for (let c = 0; c < columns; c++) {
      const value = run_KC[k * columns + c];
      if (value > score_KS[base + c]) score_KS[base + c] = value;
    }
  }
}
