import { expect, test } from "vitest";
import { alongContext, binSize, pieceShare, rowShare, words } from "./kept.ts";
import type { Kept } from "./messages.ts";

const KEPT: Kept = {
  prefix_tokens: 2,
  context_tokens: 8,
  bin_tokens: 4,
  rows: [
    { layer: 0, kv_head: 0, kept_per_bin: [4, 2, 2] },
    { layer: 1, kv_head: 0, kept_per_bin: [2, 0, 0] },
  ],
  text: [],
  text_rows: 2,
};

test("shares are of the positions there are, the short last bin's too", () => {
  expect([0, 1, 2].map((bin) => binSize(KEPT, bin))).toEqual([4, 4, 2]);
  expect(KEPT.rows.map((row) => rowShare(KEPT, row))).toEqual([0.8, 0.2]);
  expect(alongContext(KEPT, { layer: undefined, kvHead: undefined })).toEqual([0.75, 0.25, 0.5]);
  expect(alongContext(KEPT, { layer: 0, kvHead: 0 })).toEqual([1, 0.5, 1]);
  expect(pieceShare({ text: "a", tokens: 2, kept_pairs: 3 }, 2)).toBe(0.75);
});

test("words are joined from pieces; what has no letter or digit is none", () => {
  const piece = (text: string, keptPairs: number) => ({ text, tokens: 1, kept_pairs: keptPairs });
  const pieces = [
    piece("The", 0),
    piece(" fer", 2),
    piece("ry", 1),
    piece(" –", 2),
    piece(" 7", 2),
    piece("40", 2),
    piece("\n", 0),
  ];
  expect(words(pieces, 2)).toEqual([
    { word: "The", share: 0 },
    { word: "ferry", share: 0.75 },
    { word: "740", share: 1 },
  ]);
});
