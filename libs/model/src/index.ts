/**
 * Weight files to ONNX graphs; tokenizer, chat template, model hub. Nothing here runs a model.
 *
 * @module
 */
export * from "./config.ts";
export * from "./dequant/registry.ts";
export * from "./formats/gguf.ts";
export { GgufMetadata } from "./formats/gguf-metadata.ts";
export { openWeights, weightsSha256 } from "./formats/open-weights.ts";
export type { RowRange, WeightSource, WeightTensor } from "./formats/weight-source.ts";
export type { Activations } from "./graph/graph-builder.ts";
export { type GraphCacheOptions, type GraphSet, openGraphs } from "./graph/graph-cache.ts";
export type { ObserverName } from "./graph/observers/registry.ts";
export { buildAttendGraph, buildAttentionGraph, buildProductGraph } from "./graph/product-graph.ts";
export { recallsLayer } from "./graph/recall.ts";
export type { CatalogueEntry, ModelSource } from "./hub/catalogue.ts";
export type { FetchOptions, FetchProgress } from "./hub/fetch-entry.ts";
export * from "./hub/hub.ts";
export { addLocalModel, type LocalModel, type ModelToPin, pinEntry } from "./hub/pin-entry.ts";
export { sha256OfFile } from "./hub/verify.ts";
export * from "./quant/matmul-nbits.ts";
export * from "./quant/row-order.ts";
export * from "./rope.ts";
export * from "./tokenizer/load-tokenizer.ts";
export * from "./types.ts";
