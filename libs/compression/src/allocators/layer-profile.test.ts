import { expect, test } from "vitest";
import { layerProfile, layerTokens } from "./layer-profile.ts";

test("layer-profile repairs what rounding left as the authors' passes do", () => {
  expect([...layerTokens(Float32Array.of(0.1, 0.2, 0.7, 0), 4 * 64, 32, 3, 1000)]).toEqual([44, 58, 122, 32]);
  expect([...layerTokens(Float32Array.of(0.05, 0.05, 0.85, 0.05), 4 * 64, 32, 2, 1000)]).toEqual([43, 43, 128, 42]);
});

test("layer-profile does not care whether the errors are normalised", () => {
  expect([...layerTokens(Float32Array.of(1, 2, 7, 0), 4 * 64, 32, 3, 1000)]).toEqual([44, 58, 122, 32]);
});

test("layer-profile gives all heads of a layer the same, the rest to the most important layer", () => {
  const profile = { "layer-errors": Float32Array.of(0.2, 0.8) };
  const sizes = { numLayers: 2, numKvHeads: 3, headDim: 1, seqLen: 100, score_LKS: new Float32Array(600), profile };
  expect([...layerProfile.create({ floor: 10 }).allocate(sizes, 0, 122)]).toEqual([14, 14, 14, 27, 27, 26]);
});

test("layer-profile with a budget below the floor is uniform over layers", () => {
  expect([...layerTokens(Float32Array.of(0.1, 0.9), 20, 32, 3, 1000)]).toEqual([10, 10]);
});
