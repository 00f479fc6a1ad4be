/**
 * The catalogue's models for tests, as runners.
 *
 * @module
 */
import { dirname } from "node:path";
import { openHub } from "@kvault/model";
import { testModelPath } from "@kvault/model/testing";
import type { TrainableRunner } from "../model-runner.ts";
import { openModelRunner } from "../onnx-model-runner.ts";

/** A runner for a catalogue model, fetched when missing; the caller closes it. */
export async function openTestModel(name: string, activations: "int8" | "f32"): Promise<TrainableRunner> {
  const modelPath = await testModelPath(name);
  const cacheDir = dirname(modelPath);
  const { sha256, identity } = (await openHub({ cacheDir, offline: true })).describe(name);
  return openModelRunner({ modelPath, cacheDir, activations, weightsSha256: sha256, expectedIdentity: identity, numThreads: 2 });
}
