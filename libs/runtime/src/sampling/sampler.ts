/**
 * Logits → one token id.
 *
 * Order of the filters as in the common libraries: temperature, then the `topK` likeliest,
 * then the smallest set of those whose probability reaches `topP`. Each query owns its seeded
 * generator and draws once per token, so it gets the same answer alone and in a batch.
 *
 * Cost: greedy one pass over V; with `topK` a heap of k; with `topP` a sort of the tokens
 * whose probability is at least (1 - topP) / V. The rest together weigh less than 1 - topP,
 * so the nucleus never reaches them.
 *
 * A logit that is not a number is an error, never a token.
 *
 * @module
 */
import { createRng, invalidArgument, KvaultError } from "@kvault/core";
import type { SamplingOptions } from "../engine/types.ts";
import { topIds } from "./top-ids.ts";

/** Draws a token from `logits_V`, which it leaves as it is. */
export type Sampler = (logits_V: Float32Array) => number;

/** Greedy decoding: the likeliest token, always. */
export const GREEDY: SamplingOptions = Object.freeze({ temperature: 0, topP: 1, topK: 0, seed: 0 });

/** Throws INVALID_ARGUMENT naming the option out of range. */
export function checkSampling({ temperature, topP, topK, seed }: SamplingOptions): void {
  if (!(temperature >= 0 && temperature <= 100)) {
    throw invalidArgument("sampling.temperature", `Cannot sample at temperature ${temperature}: 0 to 100 is allowed`);
  }
  if (!(topP > 0 && topP <= 1)) {
    throw invalidArgument("sampling.top_p", `Cannot sample with top_p ${topP}: above 0, at most 1 is allowed`);
  }
  if (!Number.isSafeInteger(topK) || topK < 0) {
    throw invalidArgument("sampling.top_k", `Cannot sample with top_k ${topK}: an integer from 0 is needed`);
  }
  if (!Number.isSafeInteger(seed) || seed < 0) {
    throw invalidArgument("sampling.seed", `Cannot sample with seed ${seed}: an integer from 0 to 2^53 - 1 is needed`);
  }
}

/** A sampler that has drawn `drawn` tokens already: the next one is the one it would draw then. */
export function createSampler(options: SamplingOptions, drawn = 0): Sampler {
  checkSampling(options);
  const { temperature, topP, topK, seed } = options;
  if (temperature === 0 || topK === 1) return likeliest;
  const rng = createRng((seed >>> 0) ^ Math.imul(Math.floor(seed / 2 ** 32), 0x9e3779b9));
  for (let i = 0; i < drawn; i++) rng.next();
  return (logits_V) => {
    const max = logits_V[likeliest(logits_V)];
    const weightOf = (id: number): number => Math.exp((logits_V[id] - max) / temperature);
    const u = rng.next();
    if (topK > 0 && topK < logits_V.length) {
      const ids = topIds(logits_V, topK);
      return drawFromNucleus(ids, weightOf, topP * sumOver(ids, weightOf), u);
    }
    const total = sumOfAll(logits_V.length, weightOf);
    if (topP === 1) return drawFromAll(logits_V.length, weightOf, total, u);
    const ids = nucleusCandidates(logits_V, weightOf, ((1 - topP) / logits_V.length) * total);
    return drawFromNucleus(ids, weightOf, topP * total, u);
  };
}

/** The id of the largest logit; of equal ones the lowest. */
function likeliest(logits_V: Float32Array): number {
  let best = 0;
  for (let id = 0; id < logits_V.length; id++) {
    const logit = logits_V[id];
    if (Number.isNaN(logit)) throw notANumber(logit, id);
    if (logit > logits_V[best]) best = id;
  }
  if (!Number.isFinite(logits_V[best])) throw notANumber(logits_V[best], best);
  return best;
}

type WeightOf = (id: number) => number;

function sumOfAll(V: number, weightOf: WeightOf): number {
  let total = 0;
  for (let id = 0; id < V; id++) total += weightOf(id);
  return total;
}

function sumOver(ids: Uint32Array, weightOf: WeightOf): number {
  let total = 0;
  for (let i = 0; i < ids.length; i++) total += weightOf(ids[i]);
  return total;
}

/** Inverse transform over ids in ascending order. */
function drawFromAll(V: number, weightOf: WeightOf, total: number, u: number): number {
  let left = u * total;
  let last = 0;
  for (let id = 0; id < V; id++) {
    const weight = weightOf(id);
    if (weight === 0) continue;
    last = id;
    left -= weight;
    if (left < 0) break;
  }
  return last;
}

/** Inverse transform over `ids`, likeliest first, cut where their weight reaches `enough`. */
function drawFromNucleus(ids: Uint32Array, weightOf: WeightOf, enough: number, u: number): number {
  let kept = 0;
  let nucleus = 0;
  while (kept < ids.length && (kept === 0 || nucleus < enough)) nucleus += weightOf(ids[kept++]);
  let left = u * nucleus;
  for (let i = 0; i < kept; i++) {
    left -= weightOf(ids[i]);
    if (left < 0) return ids[i];
  }
  return ids[kept - 1];
}

/** Ids of weight `least` or more, likeliest first; of equal logits the lower id. */
function nucleusCandidates(logits_V: Float32Array, weightOf: WeightOf, least: number): Uint32Array {
  const ids: number[] = [];
  for (let id = 0; id < logits_V.length; id++) {
    if (weightOf(id) >= least) ids.push(id);
  }
  return Uint32Array.from(ids.sort((a, b) => logits_V[b] - logits_V[a] || a - b));
}

function notANumber(logit: number, id: number): KvaultError {
  return new KvaultError("INTERNAL", `Cannot sample a token: logit of token ${id} is ${logit}`, { details: { tokenId: id } });
}
