/** Test helpers shared by every package. @module */
export * from "./allclose.ts";
export * from "./random-layer.ts";
export * from "./similarity.ts";
export * from "./steps.ts";
