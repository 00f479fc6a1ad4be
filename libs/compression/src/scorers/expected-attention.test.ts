import { createRng } from "@kvault/core";
import { toBeAllclose } from "@kvault/core/testing";
import { expect, test } from "vitest";
import type { ScorerLayer } from "../types.ts";
import { expectedAttention } from "./expected-attention.ts";

expect.extend({ toBeAllclose });

function scoresOf(params: Record<string, unknown>, layer: ScorerLayer): Float32Array {
  const out_KS = new Float32Array(layer.numKvHeads * layer.seqLen);
  expectedAttention.create(params).score(layer, out_KS);
  return out_KS;
}

test("expected-attention of one channel is softmax of the closed form", () => {
  const found = scoresOf(
    { sinks: 0, epsilon: 0 },
    {
      ...{ layer: 0, numLayers: 1, numKvHeads: 1, numQueryHeads: 1, seqLen: 3, headDim: 1, prefixTokens: 0 },
      ...{ key_KSD: Float32Array.of(1, 0, -1), value_KSD: Float32Array.of(1, 1, 1) },
      ...{ queryMean_HD: Float32Array.of(1), queryCovariance_HDD: Float32Array.of(0.5), ropeFrequencies: new Float64Array(0) },
    },
  );
  // Logits 1.25, 0, -.75.
  expect(found).toBeAllclose([0.7033, 0.2015, 0.0952], { rtol: 0, atol: 5e-5 });
});

/** Dense R̄, dense Σ', one thing at a time. */
function expectedReference(layer: ScorerLayer, sinks: number, future: number, epsilon: number): number[] {
  const { numKvHeads: K, numQueryHeads: H = 0, seqLen: S, headDim: D } = layer;
  const half = D / 2;
  const R = Array.from({ length: D }, () => new Array<number>(D).fill(0));
  for (let p = S; p < S + future; p++) {
    for (let i = 0; i < half; i++) {
      const angle = p * layer.ropeFrequencies![i];
      R[i][i] += Math.cos(angle) / future;
      R[i + half][i + half] += Math.cos(angle) / future;
      R[i][i + half] -= Math.sin(angle) / future;
      R[i + half][i] += Math.sin(angle) / future;
    }
  }
  const times = (A: number[][], B: number[][]): number[][] =>
    A.map((row) => B[0].map((_, j) => row.reduce((sum, a, i) => sum + a * B[i][j], 0)));
  const transposed = (A: number[][]): number[][] => A[0].map((_, j) => A.map((row) => row[j]));
  const rows = (data: Float32Array, first: number, count: number): number[][] =>
    Array.from({ length: count }, (_, i) => [...data.subarray((first + i) * D, (first + i + 1) * D)]);
  const scores: number[] = [];
  for (let k = 0; k < K; k++) {
    const keys = rows(layer.key_KSD!, k * S, S);
    const values = rows(layer.value_KSD!, k * S, S);
    const sum = new Array<number>(S).fill(0);
    for (let h = (k * H) / K; h < ((k + 1) * H) / K; h++) {
      const mean = times(R, transposed(rows(layer.queryMean_HD!, h, 1)));
      const covariance = times(times(R, rows(layer.queryCovariance_HDD!, h * D, D)), transposed(R));
      const logits = keys.map(
        (key) => times([key], mean)[0][0] / Math.sqrt(D) + times(times([key], covariance), transposed([key]))[0][0] / (2 * D),
      );
      const weights = logits.map((logit, s) => (s < sinks ? 0 : Math.exp(logit)));
      const total = weights.reduce((a, b) => a + b);
      for (let s = 0; s < S; s++) sum[s] += (weights[s] / total) * (K / H);
    }
    const ranked = sum.map((p, s) => (p + epsilon) * Math.hypot(...values[s]));
    const max = Math.max(...ranked.slice(sinks));
    scores.push(...ranked.map((x, s) => (s < sinks ? max + 1 : x)));
  }
  return scores;
}

test("expected-attention equals dense matrices, groups, rotations and sinks included", () => {
  const rng = createRng(21);
  const [K, H, S, D] = [2, 4, 12, 6];
  const draw = (length: number): Float32Array => Float32Array.from({ length }, () => 2 * rng.next() - 1);
  const layer: ScorerLayer = {
    ...{ layer: 0, numLayers: 1, numKvHeads: K, numQueryHeads: H, seqLen: S, headDim: D, prefixTokens: 0 },
    ...{ key_KSD: draw(K * S * D), value_KSD: draw(K * S * D), queryMean_HD: draw(H * D), queryCovariance_HDD: draw(H * D * D) },
    ropeFrequencies: Float64Array.of(1, 0.1, 0.01),
  };
  expect(scoresOf({ sinks: 3, future: 40, epsilon: 0.02 }, layer)).toBeAllclose(expectedReference(layer, 3, 40, 0.02), {
    rtol: 1e-5,
  });
});
