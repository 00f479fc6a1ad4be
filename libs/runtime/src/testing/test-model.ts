/**
 * The catalogue's models for tests: from the cache folder, fetched when missing.
 *
 * @module
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { openHub } from "@kvault/model";
import type { ModelRunner } from "../model-runner.ts";
import { openModelRunner } from "../onnx-model-runner.ts";

/** Where the command line keeps models, too. */
export function testCacheDir(): string {
  // biome-ignore lint/style/noProcessEnv: tests find their models where the command line puts them
  const { KVAULT_CACHE_DIR, XDG_CACHE_HOME } = process.env;
  return KVAULT_CACHE_DIR ?? join(XDG_CACHE_HOME ?? join(homedir(), ".cache"), "kvault");
}

/** Path of a catalogue model's verified weight file. */
export async function testModelPath(name: string): Promise<string> {
  return (await openHub({ cacheDir: testCacheDir() })).fetchModel(name);
}

/** A runner for a catalogue model; the caller closes it. */
export async function openTestModel(name: string, activations: "int8" | "f32"): Promise<ModelRunner> {
  const cacheDir = testCacheDir();
  const hub = await openHub({ cacheDir });
  const { sha256, identity } = hub.describe(name);
  const modelPath = await hub.fetchModel(name);
  return openModelRunner({
    ...{ modelPath, cacheDir, activations },
    weightsSha256: sha256,
    expectedIdentity: identity,
    numThreads: 2,
  });
}
