/**
 * Conformance suites for the four axes: lists of checks over a factory, free of any test
 * framework. `for (const { name, run } of codecConformance(factory)) test(name, run)`.
 *
 * @module
 */
export * from "./allocator-conformance.ts";
export * from "./attention-reference.ts";
export { type ConformanceCheck, failingChecks } from "./check.ts";
export * from "./codec-conformance.ts";
export * from "./repeat-attention-reference.ts";
export * from "./scorer-conformance.ts";
export * from "./selector-conformance.ts";
export * from "./window-attention-reference.ts";
