/**
 * q5_0: 32 elements `d · (q − 16)`, q of 5 bits. Bytes: d f16 · fifth bits u32 (bit j is
 * element j's) · low nibbles [16], element j in the low half of byte j, element j + 16 in the high.
 *
 * @module
 */
import { numberFromF16 } from "@kvault/core";
import { type BlockLayout, f16BitsAt } from "./layout.ts";

export const q5_0: BlockLayout = {
  blockElements: 32,
  blockBytes: 22,
  dequantise(bytes, numBlocks, out) {
    for (let b = 0; b < numBlocks; b++) {
      const at = 22 * b;
      const d = numberFromF16(f16BitsAt(bytes, at));
      const high = f16BitsAt(bytes, at + 2) | (f16BitsAt(bytes, at + 4) << 16);
      const to = 32 * b;
      for (let j = 0; j < 16; j++) {
        const pair = bytes[at + 6 + j] as number;
        out[to + j] = d * (((pair & 15) | (((high >>> j) & 1) << 4)) - 16);
        out[to + j + 16] = d * (((pair >> 4) | (((high >>> (j + 16)) & 1) << 4)) - 16);
      }
    }
  },
};
