/**
 * Every profile of a real model on one short text: right sizes, sensible values, and a
 * calibration that was stopped gives what one that was not does.
 */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { encodeProfile, PROFILE_NAMES, type Profile } from "@kvault/compression";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { TrainableRunner } from "../model-runner.ts";
import { openTestModel } from "../testing/test-model.ts";
import { calibrate } from "./calibrate.ts";
import { readCalibrationTexts } from "./texts.ts";

let runner: TrainableRunner;
let folder: string;
beforeAll(async () => {
  runner = await openTestModel("smollm2-135m", "int8");
  folder = await mkdtemp(join(tmpdir(), "kvault-calibrate-"));
});
afterAll(async () => {
  await runner?.close();
  await rm(folder, { recursive: true, force: true });
});

/** About 600 tokens of the first text that comes with the package. */
const [whole] = readCalibrationTexts();
const text = { ...whole!, text: whole!.text.slice(0, 2_200) };
const request = { model: "smollm2-135m", texts: [text], seed: 7 };

test("makes every profile, each of its size and range", async () => {
  const made = new Map<string, Profile>();
  await calibrate(
    runner,
    { ...request, profiles: PROFILE_NAMES, workFolder: join(folder, "all") },
    { onProfile: async (profile) => void made.set(profile.name, profile) },
  );
  const { numLayers: L, numKvHeads: K, numQueryHeads: H, hiddenSize: M } = runner.config;
  const shapes = Object.fromEntries([...made].map(([name, { shape }]) => [name, shape]));
  expect(shapes).toEqual({
    ...{ surrogate: [L, M + 1, K], "kvzip-heads": [L, K], "retrieval-heads": [L, H], "layer-errors": [L] },
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
