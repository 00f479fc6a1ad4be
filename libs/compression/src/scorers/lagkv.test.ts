import { expect, test } from "vitest";
import { lagkv } from "./lagkv.ts";

function scoresOf(params: Record<string, unknown>, seqLen: number, rows: readonly number[]): number[] {
  const out_KS = new Float32Array(seqLen);
  const data = Float32Array.from(rows);
  const layer = { layer: 0, numLayers: 1, numKvHeads: 1, seqLen, headDim: rows.length / seqLen, prefixTokens: 0 };
  lagkv.create(params).score({ ...layer, key_KSD: data, value_KSD: data }, out_KS);
  return [...out_KS];
}

test("lagkv ranks a block by its spread in the next block's ranges; sinks, the last block and the rest stay first", () => {
  // Sink; block (0,1) (0,0); next block spans [0,1] in both channels; one token left over.
  const rows = [9, 9, 0, 1, 0, 0, 0, 0, 1, 1, 5, 5];
  expect(scoresOf({ sinks: 1, lag: 2 }, 6, rows)).toEqual([1, 0.5, 0, 1, 1, 1]);
});

test("lagkv takes a channel that is constant in the next block for 0", () => {
  const rows = [0, 1, 7, 0, 5, 0, 5, 1];
  expect(scoresOf({ sinks: 0, lag: 2 }, 4, rows)).toEqual([0.5, 0, 1, 1]);
});
