import fc from "fast-check";
import { expect, test } from "vitest";
import { createDefault } from "../testing/check.ts";
import { kvcompose } from "./kvcompose.ts";

const { allocate } = createDefault(kvcompose);

/** Lengths per layer of the best `count` slots, slot by slot. */
function slotsReference(layers: readonly (readonly (readonly number[])[])[], count: number): number[] {
  const sorted = layers.map((heads) => heads.map((scores) => [...scores].sort((a, b) => b - a)));
  const slots = sorted.map((heads) => heads[0].map((_, i) => heads.reduce((sum, head) => sum + head[i], 0) / heads.length));
  slots[0] = slots[0].map((_, i) => Math.max(...slots.map((layer) => layer[i])));
  const flat = slots.flatMap((layer, l) => layer.map((score) => ({ score: Math.fround(score), l })));
  const best = flat.sort((a, b) => b.score - a.score).slice(0, count);
  return slots.map((_, l) => best.filter((slot) => slot.l === l).length);
}

test("kvcompose keeps the best slots; all heads of a layer alike, layer 0 the longest", () => {
  const score = fc.integer({ min: 0, max: 50 });
  const layers = fc.array(fc.array(fc.array(score, { minLength: 6, maxLength: 6 }), { minLength: 2, maxLength: 2 }), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(layers, fc.nat(), (list, c) => {
      const numLayers = list.length;
      const count = c % (numLayers * 6 + 1);
      const score_LKS = Float32Array.from(list.flat(2));
      const budget = allocate({ numLayers, numKvHeads: 2, headDim: 1, seqLen: 6, score_LKS }, 0, 2 * count);
      const expected = slotsReference(list, count);
      expect([...budget]).toEqual(expected.flatMap((length) => [length, length]));
      expect(Math.max(...budget)).toBe(budget[0]);
    }),
    { numRuns: 200 },
  );
});

test("kvcompose gives what does not divide to the lower heads of the next slot", () => {
  const scores = { numLayers: 1, numKvHeads: 2, headDim: 1, seqLen: 3, score_LKS: Float32Array.of(1, 2, 3, 4, 5, 6) };
  expect([...allocate(scores, 0, 3)]).toEqual([2, 1]);
});
