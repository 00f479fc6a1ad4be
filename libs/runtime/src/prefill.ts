/**
 * Chunked prefill: a context's tokens through the prefill graph, each chunk with everything
 * before it as past.
 *
 * @module
 */
import { throwIfAborted } from "@kvault/core";
import { yieldToEventLoop } from "./event-loop.ts";
import type { RunOptions } from "./model-runner.ts";
import { i32Tensor, i64Tensor, type Session, type Tensor, type Tensors } from "./session.ts";
import type { TokenCache } from "./token-cache.ts";

/** Tokens of one run: long enough to fill the machine, short enough to cancel (about a second on two cores). */
export const PREFILL_CHUNK_TOKENS = 512;

/** What a causal mask adds to columns in the future; softmax gives them exactly 0. */
const MASKED = -1e30;

/** Inputs and outputs that a graph's observers add to a chunk, and what becomes of them. */
export interface ChunkObserver {
  /** For a chunk of `tokens` tokens after `start`. */
  bind(start: number, tokens: number): { readonly inputs: Tensors; readonly outputs: Tensors };
  /** Called with the same, outputs filled. */
  collect(start: number, tokens: number, outputs: Tensors): void;
}

/** Appends `ids` to `cache` in chunks of `chunkTokens`. */
export async function appendTokens(
  session: Session,
  cache: TokenCache,
  ids: Int32Array,
  chunkTokens: number,
  options: RunOptions,
  observers: readonly ChunkObserver[],
): Promise<void> {
  const { signal, onProgress, betweenRuns = yieldToEventLoop } = options;
  for (let from = 0; from < ids.length; from += chunkTokens) {
    throwIfAborted(signal);
    const chunk = ids.subarray(from, from + chunkTokens);
    const start = cache.length;
    const bound = observers.map((observer) => observer.bind(start, chunk.length));
    const inputs = Object.assign({}, ...bound.map((one) => one.inputs), chunkInputs(cache, chunk, start));
    await session.run(inputs, Object.assign({}, ...bound.map((one) => one.outputs), cache.room(chunk.length)));
    cache.length += chunk.length;
    for (const [i, observer] of observers.entries()) observer.collect(start, chunk.length, bound[i].outputs);
    onProgress?.(from + chunk.length, ids.length);
    await betweenRuns();
  }
  throwIfAborted(signal);
}

/** The prefill graph's own inputs for `chunk` after the cache's first `start` tokens. */
export function chunkInputs(cache: TokenCache, chunk: Int32Array, start: number): Record<string, Tensor> {
  const positions = Array.from(chunk, (_, i) => start + i);
  const windowed = cache.windowedPast(start);
  return {
    ids: i64Tensor(chunk, [1, chunk.length]),
    positions: i64Tensor(positions, [1, chunk.length]),
    lastIndex: i32Tensor([start + chunk.length - 1]),
    totalLength: i32Tensor([start + chunk.length]),
    ...(windowed === undefined
      ? {}
      : {
          windowLastIndex: i32Tensor([windowed + chunk.length - 1]),
          windowTotalLength: i32Tensor([windowed + chunk.length]),
        }),
    ...cache.past(start),
  };
}

/** `[T, T]`: 0 on and below the diagonal. */
export function causalMask(tokens: number): Float32Array {
  const mask = new Float32Array(tokens * tokens);
  for (let t = 0; t < tokens; t++) mask.fill(MASKED, t * tokens + t + 1, (t + 1) * tokens);
  return mask;
}
