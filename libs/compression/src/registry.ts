/**
 * Every part a spec can name. Adding a method is one file and one line here: specs, the
 * conformance tests, `kvault methods` and the documentation read these tables.
 *
 * @module
 */
import { adaKv } from "./allocators/ada-kv.ts";
import { dbudget } from "./allocators/dbudget.ts";
import { duo } from "./allocators/duo.ts";
import { global } from "./allocators/global.ts";
import { headProfile } from "./allocators/head-profile.ts";
import { kvCompress } from "./allocators/kv-compress.ts";
import { kvcompose as kvcomposeAllocator } from "./allocators/kvcompose.ts";
import { kvsharer } from "./allocators/kvsharer.ts";
import { layerProfile } from "./allocators/layer-profile.ts";
import { leankv as leankvAllocator } from "./allocators/leankv.ts";
import { pyramid } from "./allocators/pyramid.ts";
import { uniform } from "./allocators/uniform.ts";
import { clusterkv } from "./codecs/clusterkv.ts";
import { entropy } from "./codecs/entropy.ts";
import { f16 } from "./codecs/f16.ts";
import { f32 } from "./codecs/f32.ts";
import { int4 } from "./codecs/int4.ts";
import { int8 } from "./codecs/int8.ts";
import { kivi } from "./codecs/kivi.ts";
import { leankv } from "./codecs/leankv.ts";
import { preRope } from "./codecs/pre-rope.ts";
import { refit } from "./refit/refit.ts";
import { compresskv } from "./scorers/compresskv.ts";
import { expectedAttention } from "./scorers/expected-attention.ts";
import { h2o } from "./scorers/h2o.ts";
import { keydiff } from "./scorers/keydiff.ts";
import { kvcompose } from "./scorers/kvcompose.ts";
import { kvzip } from "./scorers/kvzip.ts";
import { kvzipHead } from "./scorers/kvzip-head.ts";
import { kvzipPlus } from "./scorers/kvzip-plus.ts";
import { l2norm } from "./scorers/l2norm.ts";
import { lagkv } from "./scorers/lagkv.ts";
import { none } from "./scorers/none.ts";
import { rKv } from "./scorers/r-kv.ts";
import { random } from "./scorers/random.ts";
import { snapkv } from "./scorers/snapkv.ts";
import { streamingLlm } from "./scorers/streaming-llm.ts";
import { surrogate } from "./scorers/surrogate.ts";
import { tova } from "./scorers/tova.ts";
import { block } from "./selectors/block.ts";
import { chunk } from "./selectors/chunk.ts";
import { referenceStrict } from "./selectors/reference-strict.ts";
import { shared } from "./selectors/shared.ts";
import { threshold } from "./selectors/threshold.ts";
import { topK } from "./selectors/top-k.ts";
import type { AllocatorFactory, CodecFactory, PartFactory, RefitFactory, ScorerFactory, SelectorFactory } from "./types.ts";

export const SCORERS: ReadonlyMap<string, ScorerFactory> = table(
  kvzip,
  kvzipPlus,
  kvzipHead,
  surrogate,
  kvcompose,
  expectedAttention,
  compresskv,
  snapkv,
  tova,
  h2o,
  rKv,
  keydiff,
  lagkv,
  l2norm,
  streamingLlm,
  random,
  none,
);
export const ALLOCATORS: ReadonlyMap<string, AllocatorFactory> = table(
  global,
  uniform,
  adaKv,
  pyramid,
  kvcomposeAllocator,
  kvCompress,
  headProfile,
  layerProfile,
  duo,
  leankvAllocator,
  kvsharer,
  dbudget,
);
export const SELECTORS: ReadonlyMap<string, SelectorFactory> = table(topK, threshold, chunk, block, shared, referenceStrict);
export const REFITS: ReadonlyMap<string, RefitFactory> = table(refit);
export const CODECS: ReadonlyMap<string, CodecFactory> = table(f16, f32, int8, int4, kivi, preRope, entropy, leankv, clusterkv);

function table<Factory extends PartFactory<unknown>>(...factories: readonly Factory[]): ReadonlyMap<string, Factory> {
  return new Map(factories.map((factory) => [factory.name, factory]));
}
