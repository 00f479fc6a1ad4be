/**
 * q4_1: 32 elements `d · q + m`. Bytes: d f16 · m f16 · nibbles [16], element j in the low half
 * of byte j, element j + 16 in the high half. The sum is rounded to f32 once.
 *
 * @module
 */
import { numberFromF16 } from "@kvault/core";
import { type BlockLayout, f16BitsAt } from "./layout.ts";

export const q4_1: BlockLayout = {
  blockElements: 32,
  blockBytes: 20,
  dequantise(bytes, numBlocks, out) {
    for (let b = 0; b < numBlocks; b++) {
      const at = 20 * b;
      const d = numberFromF16(f16BitsAt(bytes, at));
      const m = numberFromF16(f16BitsAt(bytes, at + 2));
      const to = 32 * b;
      for (let j = 0; j < 16; j++) {
        const pair = bytes[at + 4 + j] as number;
        out[to + j] = d * (pair & 15) + m;
        out[to + j + 16] = d * (pair >> 4) + m;
      }
    }
  },
};
