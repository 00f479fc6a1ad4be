/**
 * f16: two bytes an element, IEEE half precision.
 *
 * @module
 */
import { alignedView, decodeF16 } from "@kvault/core";
import type { BlockLayout } from "./layout.ts";

export const f16: BlockLayout = {
  blockElements: 1,
  blockBytes: 2,
  dequantise(bytes, numBlocks, out) {
    decodeF16(alignedView(bytes.subarray(0, 2 * numBlocks), Uint16Array), out);
  },
};
