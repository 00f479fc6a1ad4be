/**
 * q2_k: 256 elements in 16 sub-blocks of 16, `d · scale · q − dmin · min`, scale and min of 4 bits,
 * q of 2. Bytes: scales (low half) and mins (high half) [16] · pairs of bits [64] · d f16 · dmin f16.
 * Pairs of bits lie as in q3_k.
 *
 * The difference is rounded to f32 once.
 *
 * @module
 */
import { numberFromF16 } from "@kvault/core";
import { type BlockLayout, f16BitsAt } from "./layout.ts";

/** Value (0-3) of element `j` (0-15) of sub-block `s`; `at` is where the block begins. */
export function q2kValue(bytes: Uint8Array, at: number, s: number, j: number): number {
  const byte = bytes[at + 16 + 32 * (s >> 3) + 16 * (s & 1) + j] as number;
  return (byte >> (((s >> 1) & 3) << 1)) & 3;
}

export const q2_k: BlockLayout = {
  blockElements: 256,
  blockBytes: 84,
  dequantise(bytes, numBlocks, out) {
    for (let b = 0; b < numBlocks; b++) {
      const at = 84 * b;
      const d = numberFromF16(f16BitsAt(bytes, at + 80));
      const dmin = numberFromF16(f16BitsAt(bytes, at + 82));
      for (let s = 0; s < 16; s++) {
        const packed = bytes[at + s] as number;
        const scale = d * (packed & 15);
        const min = dmin * (packed >> 4);
        for (let j = 0; j < 16; j++) out[256 * b + 16 * s + j] = scale * q2kValue(bytes, at, s, j) - min;
      }
    }
  },
};
