import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { profilesIn } from "@kvault/compression";
import { alignedView, decodeSafetensors } from "@kvault/core";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { RunLoop } from "../batching/run-loop.ts";
import { createToyRunner, TOY_CONFIG } from "../testing/toy-runner.ts";
import { inspectScores } from "./inspect-scores.ts";
import { ModelCache } from "./models.ts";
import type { InspectScoresRequest } from "./types.ts";

let directory: string;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kvault-scores-"));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function inspect(changes: Partial<InspectScoresRequest>) {
  const deps = { models: new ModelCache(async () => createToyRunner(), 1), loop: new RunLoop(), profiles: profilesIn([]) };
  const request: InspectScoresRequest = {
    model: "toy",
    ids: Int32Array.from({ length: 100 }, (_, i) => i),
    prefixTokens: 7,
    method: "kvzip(chunk=64,form=kvpress)",
    outPath: join(directory, "scores.safetensors"),
    ...changes,
  };
  return inspectScores(deps, request, { signal: new AbortController().signal, onProgress: () => undefined });
}

describe("inspectScores()", () => {
  test("writes scores of every layer, head and position, and the logits after the last id", async () => {
    const { numLayers, numKvHeads, vocabSize } = TOY_CONFIG;
    const result = await inspect({});
    expect(result).toEqual({ spec: "kvzip(chunk=64,form=kvpress)", numLayers, numKvHeads, seqLen: 100 });
    const { tensors, metadata } = decodeSafetensors(await readFile(join(directory, "scores.safetensors")));
    expect(metadata).toEqual({ model: "toy", spec: result.spec });
    expect(tensors.get("scores")).toMatchObject({ dtype: "F32", shape: [numLayers, numKvHeads, 100] });
    expect(tensors.get("last_logits")).toMatchObject({ dtype: "F32", shape: [vocabSize] });
    const scores = alignedView(tensors.get("scores")?.data as Uint8Array, Float32Array);
    for (let row = 0; row < numLayers * numKvHeads; row++) {
      const score_S = scores.subarray(row * 100, (row + 1) * 100);
      expect(score_S.subarray(0, 7).every((score) => score === 0)).toBe(true);
      expect(score_S.subarray(7).every((score) => score > 0)).toBe(true);
    }
  });

  test.each<[string, Partial<InspectScoresRequest>, object]>([
    [
      "an id outside the vocabulary",
      { ids: Int32Array.of(1, 2, 999), prefixTokens: 1 },
      { code: "INVALID_ARGUMENT", details: { field: "ids", index: 2 } },
    ],
    ["a prefix as long as the ids", { prefixTokens: 100 }, { code: "INVALID_ARGUMENT", details: { field: "prefix_tokens" } }],
    ["more ids than the model holds", { ids: new Int32Array(5_000) }, { code: "TOKEN_LIMIT" }],
    ["an unknown method", { method: "nobody" }, { code: "METHOD_NOT_FOUND" }],
    [
      "a method whose profile is missing",
      { method: "surrogate" },
      { code: "PROFILE_NOT_FOUND", details: { model: "toy", profile: "surrogate" } },
    ],
    ["a folder that is not there", { outPath: "/nowhere/at/all" }, { code: "INVALID_ARGUMENT", details: { field: "out" } }],
  ])("refuses %s and leaves no file", async (_, changes, error) => {
    await expect(inspect(changes)).rejects.toMatchObject(error);
    expect(await readdir(directory)).toEqual([]);
  });
});
