/**
 * Compression of KV caches: scorer | allocator | selector | (refit) | codec, composed by a spec string.
 *
 * @module
 */
export * from "./describe.ts";
export * from "./part.ts";
export * from "./pipeline.ts";
export * from "./plan.ts";
export { PRESETS, type Preset } from "./presets.ts";
export {
  encodeProfile,
  isProfileName,
  type Profile,
  type ProfileSource,
  type StoredProfile,
} from "./profiles/profile-file.ts";
export {
  defaultMethod,
  findProfiles,
  openProfiles,
  type ProfileStore,
  profileFolder,
  profilePath,
  profilesIn,
  profilesOf,
} from "./profiles/profile-store.ts";
export { type MatMul, plainMatMul } from "./refit/mat-mul.ts";
export { type QuerySample, sampleQueries } from "./refit/sample-queries.ts";
export { ALLOCATORS, CODECS, REFITS, SCORERS, SELECTORS } from "./registry.ts";
export { planRepeat, type RepeatChunk, type RepeatInput } from "./scorers/kvzip.ts";
export * from "./spec.ts";
export * from "./types.ts";
