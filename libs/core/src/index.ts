/**
 * Errors, tensor views, ragged KV caches, digests and safetensors: what every package
 * speaks. No I/O, no npm dependency.
 *
 * @module
 */
export * from "./abort.ts";
export * from "./align.ts";
export * from "./digest.ts";
export * from "./environment.ts";
export * from "./errors.ts";
export * from "./f16.ts";
export * from "./latest.ts";
export * from "./ragged.ts";
export * from "./rng.ts";
export * from "./safetensors.ts";
