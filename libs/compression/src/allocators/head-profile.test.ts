import { expect, test } from "vitest";
import { headProfile } from "./head-profile.ts";

const sizes = { numLayers: 2, numKvHeads: 1, headDim: 1, seqLen: 50, score_LKS: new Float32Array(100) };

test("head-profile shares by importance and leaves the floor to a head of none", () => {
  const profile = { "baklava-heads": Float32Array.of(0, 0.5), "kvzip-heads": Float32Array.of(1, 1) };
  expect([...headProfile.create({}).allocate({ ...sizes, profile }, 0, 40)]).toEqual([4, 36]);
  expect([...headProfile.create({ profile: "kvzip" }).allocate({ ...sizes, profile }, 0, 40)]).toEqual([20, 20]);
});

test("head-profile sharpens by its exponent", () => {
  const profile = { "duo-heads": Float32Array.of(0.25, 0.5) };
  const { allocate } = headProfile.create({ profile: "duo", floor: 0, exponent: 2 });
  expect([...allocate({ ...sizes, profile }, 0, 40)]).toEqual([8, 32]);
});
