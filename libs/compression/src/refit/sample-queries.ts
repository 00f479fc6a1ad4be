/**
 * Which queries the refit is fitted to: a fixed draw, so that a record can be made again.
 *
 * @module
 */
import { createRng } from "@kvault/core";

const SEED = 0x9e3779b9;

/** Sampled queries of a KV head's group, positions ascending; the same for every layer and KV head. */
export interface QuerySample {
  /** Token of each query, from 0. */
  readonly token_M: Uint32Array;
  /** Query head inside the group, in `[0, groupSize)`. */
  readonly head_M: Uint32Array;
}

/**
 * `min(numQueries, numTokens · groupSize)` of all (token, query head of the group), none twice,
 * all equally likely. Cost: one draw for each candidate.
 */
export function sampleQueries(numTokens: number, groupSize: number, numQueries: number): QuerySample {
  const candidates = numTokens * groupSize;
  const count = Math.min(numQueries, candidates);
  const rng = createRng(SEED);
  const token_M = new Uint32Array(count);
  const head_M = new Uint32Array(count);
  for (let i = 0, chosen = 0; chosen < count; i++) {
    if (rng.next() * (candidates - i) >= count - chosen) continue;
    token_M[chosen] = Math.floor(i / groupSize);
    head_M[chosen] = i % groupSize;
    chosen++;
  }
  return { token_M, head_M };
}
