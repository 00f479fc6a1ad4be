import { createRng, isKvaultError } from "@kvault/core";
import { makeRaggedLayer } from "@kvault/core/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { resolveSpec } from "../plan.ts";
import { kivi } from "./kivi.ts";

test("kivi splits 300 tokens as the authors' prefill does: keys 256 and 44, values 172 and 128", () => {
  const rows = 300;
  const cut = {
    ...{
      numKvHeads: 1,
      headDim: 32,
      offset: Uint32Array.of(0, rows),
      position_n: Uint32Array.from({ length: rows }, (_, i) => i),
    },
    ...{ key_nD: new Float32Array(rows * 32).fill(1), value_nD: new Float32Array(rows * 32) },
  };
  const tensors = kivi.create({ bits: 2, group: 32, residual: 128 }).encode(cut);
  expect(tensors.get("k")!.shape).toEqual([256, 8]);
  expect(tensors.get("k.scale")!.shape).toEqual([8, 32]);
  expect(tensors.get("k.tail")!.shape).toEqual([44, 32]);
  expect(tensors.get("v")!.shape).toEqual([172, 8]);
  expect(tensors.get("v.scale")!.shape).toEqual([172, 1]);
  expect(tensors.get("v.tail")!.shape).toEqual([128, 32]);
});

test("kivi gives recent tokens back as halves and the others within half a step, whatever the heads' lengths", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e6 }), fc.constantFrom(0, 8, 16), fc.constantFrom(2, 4), (seed, residual, bits) => {
      const layer = makeRaggedLayer(createRng(seed), { numKvHeads: 3, seqLen: 40, headDim: 6 });
      const codec = kivi.create({ bits, group: 8, residual });
      const found = codec.decode(codec.encode(layer), layer);
      let excess = Number.NEGATIVE_INFINITY;
      for (let k = 0; k < 3; k++) {
        const count = layer.offset[k + 1] - layer.offset[k];
        const keyTail = residual === 0 ? 0 : count % residual;
        const valueTail = Math.min(count, residual);
        for (let n = layer.offset[k]; n < layer.offset[k + 1]; n++) {
          const bound = (tail: number): number => (layer.offset[k + 1] - n <= tail ? 2 ** -11 : codec.maxRelativeError);
          for (let i = n * 6; i < (n + 1) * 6; i++) {
            excess = Math.max(excess, Math.abs(found.key_nD[i] - layer.key_nD[i]) - bound(keyTail));
            excess = Math.max(excess, Math.abs(found.value_nD[i] - layer.value_nD[i]) - bound(valueTail));
          }
        }
      }
      expect(excess).toBeLessThanOrEqual(0);
    }),
    { numRuns: 60 },
  );
});

test("kivi takes 4.5 bits a value at 64 channels in the long run", () => {
  const rows = 64_000;
  const layout = { numKvHeads: 1, headDim: 64, offset: Uint32Array.of(0, rows), position_n: new Uint32Array(rows) };
  expect((kivi.create({}).encodedBytes(layout) * 8) / (2 * rows * 64)).toBeCloseTo(4.5, 1);
});

test("kivi refuses a residual that no group divides, by name", () => {
  try {
    resolveSpec("none|uniform|top-k(keep=1)|kivi(group=64,residual=100)");
    expect.unreachable();
  } catch (error) {
    expect(isKvaultError(error, "SPEC_INVALID") && error.message).toContain("residual=100 (must be a multiple of the group)");
  }
});
