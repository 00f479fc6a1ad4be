/**
 * f32: four bytes an element, little endian.
 *
 * @module
 */
import { bytesOf } from "@kvault/core";
import type { BlockLayout } from "./layout.ts";

export const f32: BlockLayout = {
  blockElements: 1,
  blockBytes: 4,
  dequantise(bytes, numBlocks, out) {
    bytesOf(out).set(bytes.subarray(0, 4 * numBlocks));
  },
};
