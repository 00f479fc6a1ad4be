/**
 * Compression of KV caches: scorer | allocator | selector | codec, composed by a spec string.
 *
 * @module
 */
export * from "./describe.ts";
export * from "./part.ts";
export * from "./pipeline.ts";
export * from "./plan.ts";
export { PRESETS, type Preset } from "./presets.ts";
export { ALLOCATORS, CODECS, SCORERS, SELECTORS } from "./registry.ts";
export { planRepeat, type RepeatChunk, type RepeatInput } from "./scorers/kvzip.ts";
export * from "./spec.ts";
export * from "./types.ts";
