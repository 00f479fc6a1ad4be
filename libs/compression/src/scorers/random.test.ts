import { expect, test } from "vitest";
import { random } from "./random.ts";

function scoresOf(seed: number, layer: number): Float32Array {
  const out_KS = new Float32Array(200);
  random.create({ seed }).score({ layer, numLayers: 9, numKvHeads: 2, seqLen: 100, headDim: 1, prefixTokens: 0 }, out_KS);
  return out_KS;
}

test("random draws anew for every seed and layer and the same again for both", () => {
  const draws = [scoresOf(0, 0), scoresOf(0, 1), scoresOf(1, 0), scoresOf(0xffffffff, 0)];
  for (const [i, a] of draws.entries()) for (const b of draws.slice(i + 1)) expect(a).not.toEqual(b);
  expect(scoresOf(0, 1)).toEqual(draws[1]);
});
