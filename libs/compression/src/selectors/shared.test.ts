import { createRng } from "@kvault/core";
import { expect, test } from "vitest";
import { layerRows, selectPairs } from "../pipeline.ts";
import { resolveSpec } from "../plan.ts";

const source = { numLayers: 3, numKvHeads: 4, headDim: 1, seqLen: 41, prefixTokens: 2 };
const rng = createRng(6);
const attention = source.numKvHeads * source.seqLen;
const repeat = Array.from({ length: 3 }, (_, l) => Float32Array.from({ length: attention }, () => rng.next() * (l + 1)));

function rowsOf(spec: string): Uint32Array[][] {
  const layer = (l: number): typeof source & { layer: number; repeatAttention_KS: Float32Array } => ({
    ...{ ...source, layer: l },
    repeatAttention_KS: repeat[l],
  });
  const selection = selectPairs(resolveSpec(spec), { ...source, layer });
  return [0, 1, 2].map((l) => {
    const { offset, position_n } = layerRows(selection, l);
    return [0, 1, 2, 3].map((k) => position_n.subarray(offset[k], offset[k + 1]));
  });
}

test.each(["uniform", "global", "ada-kv", "kv-compress"])(
  "shared keeps one list of positions per layer, with %s",
  (allocator) => {
    const layers = rowsOf(`kvzip|${allocator}|shared(keep=0.37)|f16`);
    for (const rows of layers) for (const row of rows) expect([...row]).toEqual([...rows[0]]);
    const kept = layers.reduce((sum, rows) => sum + rows[0].length - source.prefixTokens, 0);
    expect(kept).toBe(Math.round(0.37 * 3 * 39));
  },
);

test("shared ranks by the mean of the layer's heads", () => {
  const mean = Float32Array.from({ length: 41 }, (_, s) => [0, 1, 2, 3].reduce((sum, k) => sum + repeat[1][k * 41 + s], 0));
  const best = [...mean.keys()].slice(2).sort((a, b) => mean[b] - mean[a]);
  const rows = rowsOf("kvzip|uniform|shared(keep=0.25)|f16")[1];
  expect([...rows[3]].slice(2)).toEqual(best.slice(0, rows[3].length - 2).sort((a, b) => a - b));
});

test("chunk of shared heads keeps whole chunks for the layer, alone it keeps each head's own", () => {
  const [rows] = rowsOf("kvzip|uniform|chunk(keep=0.5,size=5)|f16");
  for (const row of rows) expect([...row]).toEqual([...rows[0]]);
  const [own] = rowsOf("kvzip|uniform|chunk(keep=0.5,size=5,shared=false)|f16");
  expect([...own[1]]).not.toEqual([...own[0]]);
});
