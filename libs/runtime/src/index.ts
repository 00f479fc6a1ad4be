export * from "./engine/types.ts";
export * from "./model-runner.ts";
export { type ModelRunnerOptions, openModelRunner } from "./onnx-model-runner.ts";
export { fullLayer, residentContext } from "./resident-context.ts";
