/**
 * q4_0: 32 elements `d · (q − 8)`. Bytes: d f16 · nibbles [16], element j in the low half of
 * byte j, element j + 16 in the high half.
 *
 * @module
 */
import { numberFromF16 } from "@kvault/core";
import { type BlockLayout, f16BitsAt } from "./layout.ts";

export const q4_0: BlockLayout = {
  blockElements: 32,
  blockBytes: 18,
  dequantise(bytes, numBlocks, out) {
    for (let b = 0; b < numBlocks; b++) {
      const at = 18 * b;
      const d = numberFromF16(f16BitsAt(bytes, at));
      const to = 32 * b;
      for (let j = 0; j < 16; j++) {
        const pair = bytes[at + 2 + j] as number;
        out[to + j] = d * ((pair & 15) - 8);
        out[to + j + 16] = d * ((pair >> 4) - 8);
      }
    }
  },
};
