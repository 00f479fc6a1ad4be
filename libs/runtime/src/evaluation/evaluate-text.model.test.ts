/** The evaluation's own machinery on a tiny random model: what it says of quality is noise. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Profile, ProfileStore } from "@kvault/compression";
import { weightsSha256 } from "@kvault/model";
import { expect, test } from "vitest";
import { calibrate } from "../calibration/calibrate.ts";
import { readCalibrationTexts } from "../calibration/texts.ts";
import { openModelRunner } from "../onnx-model-runner.ts";
import { CELLS } from "./cells.ts";
import { TextEvaluation } from "./evaluate-text.ts";

const FOLDER = new URL("../../../../tests/fixtures/tiny-models/qwen2", import.meta.url);

test("the full context flips none of its own answers; ours is measured and stored in less", async () => {
  const scratch = await mkdtemp(join(tmpdir(), "kvault-eval-"));
  const modelPath = fileURLToPath(FOLDER);
  const sha256 = await weightsSha256(modelPath);
  const runner = await openModelRunner({
    modelPath,
    weightsSha256: sha256,
    cacheDir: scratch,
    activations: "f32",
    numThreads: 1,
  });
  let made: Profile | undefined;
  const texts = readCalibrationTexts().slice(0, 1);
  await calibrate(
    runner,
    { model: "tiny", profiles: ["surrogate"], texts, seed: 7, workFolder: join(scratch, "work") },
    {
      onProfile: async (profile) => {
        made = profile;
      },
    },
  );
  const profiles: ProfileStore = { find: () => ({ ...made!, digest: "0".repeat(64) }), modelsWith: () => ["tiny"] };
  const evaluation = await TextEvaluation.open(runner, "tiny", "A short text. It has an end.", profiles);
  const [full, , ours] = CELLS;
  expect(await evaluation.measure(full!)).toMatchObject({ cell: "full", flips: 0, nll: expect.any(Number) });
  const measured = await evaluation.measure(ours!);
  expect(ours!.spec).toContain("surrogate|global|top-k(keep=0.3)|refit(queries=own)|pre-rope");
  expect(Number.isFinite(measured.nll)).toBe(true);
  const { numLayers, numKvHeads, headDim } = runner.config;
  expect(measured.storedBytes).toBeLessThan(measured.contextTokens * numLayers * numKvHeads * headDim * 4 * 0.5);
  evaluation.close();
  await runner.close();
  await rm(scratch, { recursive: true, force: true });
});
