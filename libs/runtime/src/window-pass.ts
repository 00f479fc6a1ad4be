/**
 * Attention of a context's last tokens to all of it, for scorers that vote with a window
 * (SnapKV, TOVA, CompressKV) or with everything (H2O).
 *
 * The window's tokens are read once more behind the cache of what precedes them; only the
 * summed attention leaves the graph, the cache is not touched. Cost: a prefill of
 * `windowTokens` tokens.
 *
 * @module
 */
import { throwIfAborted } from "@kvault/core";
import { globalLayers, type ModelConfig } from "@kvault/model";
import { yieldToEventLoop } from "./event-loop.ts";
import type { RunOptions } from "./model-runner.ts";
import { causalMask, chunkInputs } from "./prefill.ts";
import { f32Tensor, perLayer, type Session } from "./session.ts";
import type { TokenCache } from "./token-cache.ts";

/** Window tokens of one run: work arrays of `H·T × S` floats per layer. */
const WINDOW_RUN_TOKENS = 128;

/** Per layer `[queryHead, seqLen]`, f32 sums of f32 rows, empty for windowed layers; `ids` are all the cache's tokens. */
export async function runWindowPass(
  session: Session,
  config: ModelConfig,
  cache: TokenCache,
  ids: Int32Array,
  windowTokens: number,
  { signal, onProgress, betweenRuns = yieldToEventLoop }: RunOptions,
): Promise<Float32Array[]> {
  const { numQueryHeads } = config;
  const seqLen = ids.length;
  const layers = globalLayers(config);
  const first = Math.max(0, seqLen - windowTokens);
  const sum_L = Array.from({ length: config.numLayers }, () => new Float32Array(0));
  for (const layer of layers) sum_L[layer] = new Float32Array(numQueryHeads * seqLen);
  // The first token sees itself alone, and a run with nothing before it would divide by zero inside ONNX Runtime.
  if (first === 0) for (const layer of layers) for (let h = 0; h < numQueryHeads; h++) sum_L[layer][h * seqLen] = 1;
  for (let start = Math.max(1, first); start < seqLen; start += WINDOW_RUN_TOKENS) {
    throwIfAborted(signal);
    const chunk = ids.subarray(start, start + WINDOW_RUN_TOKENS);
    const end = start + chunk.length;
    const outputs = perLayer(layers, "windowAttention", () => new Float32Array(numQueryHeads * end), [numQueryHeads, end]);
    const causal = f32Tensor(causalMask(chunk.length), [chunk.length, chunk.length]);
    await session.run({ ...chunkInputs(cache, chunk, start), causal }, outputs);
    for (const layer of layers) {
      addColumns(sum_L[layer], outputs[`windowAttention.${layer}`].data as Float32Array, numQueryHeads, seqLen, end);
    }
    onProgress?.(end - first, seqLen - first);
    await betweenRuns();
  }
  return sum_L;
}

/** `sum_HS[h, s] += run_HE[h, s]` for s below E. */
function addColumns(sum_HS: Float32Array, run_HE: Float32Array, numQueryHeads: number, S: number, E: number): void {
  for (let h = 0; h < numQueryHeads; h++) {
    for (let s = 0; s < E; s++) sum_HS[h * S + s] += run_HE[h * E + s];
  }
}
