/**
 * Chunked prefill: a context's tokens through the prefill graph, each chunk with everything
 * before it as past.
 *
 * @module
 */
import { throwIfAborted } from "@kvault/core";
import { yieldToEventLoop } from "./event-loop.ts";
import type { RunOptions } from "./model-runner.ts";
import { i32Tensor, i64Tensor, type Session, type Tensors } from "./session.ts";
import type { TokenCache } from "./token-cache.ts";

/** Tokens of one run: long enough to fill the machine, short enough to cancel (about a second on two cores). */
export const PREFILL_CHUNK_TOKENS = 512;

/**
 * Appends `ids` to `cache` in chunks of `chunkTokens`; `extra` adds the inputs and outputs of
 * a chunk that the graph has besides, and `afterRun` sees them filled.
 */
export async function appendTokens(
  session: Session,
  cache: TokenCache,
  ids: Int32Array,
  chunkTokens: number,
  options: RunOptions,
  extra: (chunkLength: number) => { inputs: Tensors; outputs: Tensors },
  afterRun: (outputs: Tensors) => void = () => undefined,
): Promise<void> {
  const { signal, onProgress, betweenRuns = yieldToEventLoop } = options;
  for (let start = 0; start < ids.length; start += chunkTokens) {
    throwIfAborted(signal);
    const chunk = ids.subarray(start, start + chunkTokens);
    const { length } = cache;
    const { inputs, outputs } = cache.bind(chunk.length);
    const more = extra(chunk.length);
    await session.run(
      {
        ids: i64Tensor(chunk, [1, chunk.length]),
        positions: i64Tensor(
          Array.from({ length: chunk.length }, (_, i) => length + i),
          [1, chunk.length],
        ),
        lastIndex: i32Tensor([length + chunk.length - 1]),
        totalLength: i32Tensor([length + chunk.length]),
        ...inputs,
        ...more.inputs,
      },
      { ...outputs, ...more.outputs },
    );
    cache.length += chunk.length;
    afterRun(more.outputs);
    onProgress?.(start + chunk.length, ids.length);
    await betweenRuns();
  }
  throwIfAborted(signal);
}
