/**
 * The engine: a child process that runs models, and the supervisor's side of it.
 *
 * @module
 */

export {
  type CalibrationOptions,
  type CalibrationProgress,
  type CalibrationRequest,
  calibrate,
} from "./calibration/calibrate.ts";
export { type SurrogateTraining, trainSurrogate } from "./calibration/surrogate.ts";
export { type CalibrationText, readCalibrationTexts } from "./calibration/texts.ts";
export { type EngineEvent, type EngineLimits, type OpenEngineOptions, openEngine } from "./engine/client.ts";
export { ANSWER_RESERVE_TOKENS } from "./engine/read-context.ts";
export * from "./engine/types.ts";
export * from "./model-runner.ts";
export { type ModelRunnerOptions, openModelRunner } from "./onnx-model-runner.ts";
export { fullLayer, residentContext } from "./resident-context.ts";
