/**
 * Every profile of small models, of one without and one with windowed layers: right sizes,
 * sensible values, and a calibration that was stopped gives what one that was not does. Random
 * weights (tests/fixtures/tiny-models): what the values mean is the evaluation's to say.
 */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { encodeProfile, findProfiles, PROFILE_NAMES, type Profile, resolveSpec, selectPairs } from "@kvault/compression";
import { globalLayers, weightsSha256 } from "@kvault/model";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RunLoop } from "../batching/run-loop.ts";
import { gatherScoreSource, inputsOf, prefillFor } from "../engine/score-source.ts";
import type { TrainableRunner } from "../model-runner.ts";
import { openModelRunner } from "../onnx-model-runner.ts";
import { calibrate } from "./calibrate.ts";
import { readCalibrationTexts } from "./texts.ts";

const FIXTURES = new URL("../../../../tests/fixtures/tiny-models/", import.meta.url);

describe.each(["qwen2", "gemma3"])("a tiny %s", (family) => {
  let runner: TrainableRunner;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "kvault-calibrate-"));
    const modelPath = fileURLToPath(new URL(family, FIXTURES));
    const sha256 = await weightsSha256(modelPath);
    runner = await openModelRunner({ modelPath, weightsSha256: sha256, cacheDir: folder, activations: "f32", numThreads: 1 });
  });
  afterAll(async () => {
    await runner?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const [whole] = readCalibrationTexts();
  const text = { ...whole!, text: whole!.text.slice(0, 2_200) };
  const request = { model: family, texts: [text], seed: 7 };

  test("makes every profile, each of its size and range", async () => {
    const made = new Map<string, Profile>();
    await calibrate(
      runner,
      { ...request, profiles: PROFILE_NAMES, workFolder: join(folder, "all") },
      { onProfile: async (profile) => void made.set(profile.name, profile) },
    );
    const { numLayers, numKvHeads: K, numQueryHeads: H, hiddenSize: M } = runner.config;
    const L = globalLayers(runner.config).length;
    const shapes = Object.fromEntries([...made].map(([name, { shape }]) => [name, shape]));
    expect(shapes).toEqual({
      ...{ surrogate: [numLayers, M + 1, K], "kvzip-heads": [L, K], "retrieval-heads": [L, H], "layer-errors": [L] },
      ...{ "baklava-heads": [L, K], "duo-heads": [L, K], "layer-map": [L] },
    });
    for (const { shape, values } of made.values()) expect(values.length).toBe(shape.reduce((a, b) => a * b, 1));
    for (const name of ["kvzip-heads", "baklava-heads", "duo-heads"]) {
      for (const value of made.get(name)!.values) expect(value).toBeGreaterThanOrEqual(0);
      for (const value of made.get(name)!.values) expect(value).toBeLessThanOrEqual(1.0001);
    }
    expect(made.get("layer-errors")!.values.reduce((a, b) => a + b)).toBeCloseTo(1, 4);
    for (const [reader, source] of made.get("layer-map")!.values.entries()) {
      expect(source).toBeLessThanOrEqual(reader);
      expect(made.get("layer-map")!.values[source]).toBe(source);
    }
    for (const method of ["kvault", "compresskv", "kvzip-head", "baklava"]) {
      const plan = resolveSpec(method);
      const store = {
        find: (_: unknown, name: string) => ({ ...made.get(name)!, digest: "0".repeat(64) }),
        modelsWith: () => [],
      };
      const found = findProfiles(store, { name: family, weightsSha256: runner.identity.weightsSha256 }, plan.profiles);
      const inputs = inputsOf(plan, found.profile);
      const context = await prefillFor(
        inputs,
        new RunLoop(),
        runner,
        runner.prompts.context({ text: text.text.slice(0, 400) }),
        {},
      );
      const { source } = await gatherScoreSource(inputs, new RunLoop(), runner, context, {});
      expect(selectPairs(plan, source).position_n.length, method).toBeGreaterThan(0);
      context.release();
    }
    await expect(readdir(join(folder, "all"))).rejects.toMatchObject({ code: "ENOENT" });
  });

  test("goes on where it was stopped, and ends with the same bytes", async () => {
    const profiles = ["kvzip-heads", "duo-heads"] as const;
    const all = async (workFolder: string, signal?: AbortSignal): Promise<Uint8Array[]> => {
      const made: Uint8Array[] = [];
      await calibrate(
        runner,
        { ...request, profiles, workFolder: join(folder, workFolder) },
        { onProfile: async (profile) => void made.push(encodeProfile(profile)), ...(signal === undefined ? {} : { signal }) },
      );
      return made;
    };
    const undisturbed = await all("undisturbed");
    const stop = new AbortController();
    const stopped = calibrate(
      runner,
      { ...request, profiles, workFolder: join(folder, "stopped") },
      { signal: stop.signal, onProfile: async () => stop.abort(new Error("stopped")) },
    );
    await expect(stopped).rejects.toThrow();
    expect(await readdir(join(folder, "stopped"))).toHaveLength(1);
    expect(await all("stopped")).toEqual(undisturbed);
  });
});
