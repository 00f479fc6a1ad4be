/**
 * iq4_nl: 32 elements, `d · level`, one of 16 uneven levels. Bytes: d f16 · nibbles [16]; byte j
 * holds element j (low half) and j + 16 (high half). f32 holds every value exactly.
 *
 * @module
 */
import { numberFromF16 } from "@kvault/core";
import { type BlockLayout, f16BitsAt } from "./layout.ts";

/** By nibble. */
export const IQ4_NL_LEVELS: readonly number[] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

export const iq4_nl: BlockLayout = {
  blockElements: 32,
  blockBytes: 18,
  dequantise(bytes, numBlocks, out) {
    for (let b = 0; b < numBlocks; b++) {
      const at = 18 * b;
      const d = numberFromF16(f16BitsAt(bytes, at));
      for (let j = 0; j < 16; j++) {
        const pair = bytes[at + 2 + j] as number;
        out[32 * b + j] = d * (IQ4_NL_LEVELS[pair & 15] as number);
        out[32 * b + j + 16] = d * (IQ4_NL_LEVELS[pair >> 4] as number);
      }
    }
  },
};
