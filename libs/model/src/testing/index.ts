/** Test helpers of the model package. @module */
export * from "./encode-gguf.ts";
export * from "./test-model.ts";
