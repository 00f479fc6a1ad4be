/** Test helpers of the model package. @module */
export * from "./as-gguf.ts";
export * from "./encode-gguf.ts";
export * from "./recall-graph.ts";
export * from "./test-model.ts";
