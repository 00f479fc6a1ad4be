import { createRng } from "@kvault/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SamplingOptions } from "../engine/types.ts";
import { createSampler, GREEDY } from "./sampler.ts";

const options = (some: Partial<SamplingOptions>): SamplingOptions => ({ ...GREEDY, temperature: 1, seed: 7, ...some });

/** Probabilities by the definition: sort, filter, normalise. */
function probabilitiesReference(logits: readonly number[], { temperature, topK, topP }: SamplingOptions): number[] {
  const order = logits.map((_, id) => id).sort((a, b) => logits[b] - logits[a] || a - b);
  const ranked = topK > 0 ? order.slice(0, topK) : order;
  const weight = (id: number): number => Math.exp((logits[id] - logits[order[0]]) / temperature);
  const total = ranked.reduce((sum, id) => sum + weight(id), 0);
  const kept: number[] = [];
  let reached = 0;
  for (const id of ranked) {
    if (topP < 1 && kept.length > 0 && reached >= topP * total) break;
    kept.push(id);
    reached += weight(id);
  }
  return logits.map((_, id) => (kept.includes(id) ? weight(id) / reached : 0));
}

function frequencies(sampling: SamplingOptions, logits: readonly number[], draws: number): number[] {
  const sample = createSampler(sampling);
  const logits_V = Float32Array.from(logits);
  const counts = logits.map(() => 0);
  for (let i = 0; i < draws; i++) counts[sample(logits_V)]++;
  return counts.map((count) => count / draws);
}

describe("createSampler()", () => {
  test("is greedy at temperature 0 and takes the lowest id on ties", () => {
    expect(createSampler(GREEDY)(Float32Array.of(1, 3, 3, 2))).toBe(1);
  });

  test("greedy and top_k 1 agree whatever the seed", () => {
    fc.assert(
      fc.property(fc.array(fc.float({ noNaN: true, min: -50, max: 50 }), { minLength: 1 }), fc.nat(), (logits, seed) => {
        const logits_V = Float32Array.from(logits);
        expect(createSampler(options({ topK: 1, seed }))(logits_V)).toBe(createSampler(GREEDY)(logits_V));
      }),
    );
  });

  test.each([
    ["temperature alone", { temperature: 0.7 }],
    ["a high temperature", { temperature: 3 }],
    ["top_k", { topK: 3 }],
    ["top_p", { topP: 0.8 }],
    ["top_k and top_p together", { topK: 4, topP: 0.7, temperature: 1.3 }],
  ])("draws with the probabilities of the definition: %s", (_, some) => {
    const logits = [0.3, 2, -1, 1.2, 2, -4, 0.9, 0.1];
    const expected = probabilitiesReference(logits, options(some));
    const draws = 40_000;
    const found = frequencies(options(some), logits, draws);
    for (const [id, p] of expected.entries()) {
      // Five standard deviations; ids outside the filter never come.
      expect(Math.abs(found[id] - p)).toBeLessThanOrEqual(5 * Math.sqrt((p * (1 - p)) / draws));
    }
  });

  test("draws only from the nucleus, on random logits", () => {
    const logits = fc.array(fc.integer({ min: -40, max: 40 }), { minLength: 1, maxLength: 30 });
    fc.assert(
      fc.property(logits, fc.double({ min: 0.01, max: 1, noNaN: true }), fc.nat(8), fc.nat(), (tenths, topP, topK, seed) => {
        const values = tenths.map((value) => value / 10);
        const sampling = options({ topP, topK, seed });
        const token = createSampler(sampling)(Float32Array.from(values));
        expect(probabilitiesReference(Array.from(Float32Array.from(values)), sampling)[token]).toBeGreaterThan(0);
      }),
      { numRuns: 1_000 },
    );
  });

  test("gives the same tokens for the same seed and others for another", () => {
    const rng = createRng(1);
    const steps = Array.from({ length: 40 }, () => Float32Array.from({ length: 50 }, () => rng.next()));
    const draw = (seed: number): number[] => steps.map(createSampler(options({ seed })));
    expect(draw(5)).toEqual(draw(5));
    expect(draw(5)).not.toEqual(draw(6));
    expect(draw(5)).not.toEqual(draw(5 + 2 ** 32));
  });

  test("never draws a token of weight zero", () => {
    const logits_V = Float32Array.of(-Infinity, 0, -Infinity);
    const sample = createSampler(options({}));
    expect(new Set(Array.from({ length: 100 }, () => sample(logits_V)))).toEqual(new Set([1]));
  });

  test.each([
    ["NaN", Float32Array.of(0, Number.NaN, 1)],
    ["infinity", Float32Array.of(0, Number.POSITIVE_INFINITY)],
    ["nothing but minus infinity", Float32Array.of(-Infinity, -Infinity)],
  ])("refuses logits with %s, greedy or not", (_, logits_V) => {
    for (const sampling of [GREEDY, options({}), options({ topP: 0.5 }), options({ topK: 2, temperature: 2 })]) {
      expect(() => createSampler(sampling)(logits_V)).toThrow(expect.objectContaining({ code: "INTERNAL" }));
    }
  });

  test.each([
    ["temperature", { temperature: -1 }],
    ["temperature", { temperature: Number.NaN }],
    ["top_p", { topP: 0 }],
    ["top_p", { topP: 1.5 }],
    ["top_k", { topK: 1.5 }],
    ["top_k", { topK: -1 }],
    ["seed", { seed: -1 }],
    ["seed", { seed: 2 ** 53 }],
  ])("refuses a bad %s by name", (name, some) => {
    expect(() => createSampler(options(some))).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", details: expect.objectContaining({ field: `sampling.${name}` }) }),
    );
  });

  test("one that has drawn before goes on with the draws that come after", () => {
    const sampling = options({ temperature: 1.5, topP: 0.9, topK: 7, seed: 11 });
    const logits_V = Float32Array.from({ length: 50 }, (_, id) => Math.sin(id));
    const whole = createSampler(sampling);
    const draws = Array.from({ length: 30 }, () => whole(logits_V));
    for (const drawn of [0, 1, 17]) {
      const rest = createSampler(sampling, drawn);
      expect(draws.slice(drawn).map(() => rest(logits_V))).toEqual(draws.slice(drawn));
    }
  });
});
