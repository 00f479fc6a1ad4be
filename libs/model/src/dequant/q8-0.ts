/**
 * q8_0: 32 elements `d · q`. Bytes: d f16 · q[32] i8.
 *
 * @module
 */
import { numberFromF16 } from "@kvault/core";
import { type BlockLayout, f16BitsAt } from "./layout.ts";

export const q8_0: BlockLayout = {
  blockElements: 32,
  blockBytes: 34,
  dequantise(bytes, numBlocks, out) {
    for (let b = 0; b < numBlocks; b++) {
      const at = 34 * b;
      const d = numberFromF16(f16BitsAt(bytes, at));
      const to = 32 * b;
      for (let j = 0; j < 32; j++) out[to + j] = d * (((bytes[at + 2 + j] as number) << 24) >> 24);
    }
  },
};
