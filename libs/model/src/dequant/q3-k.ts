/**
 * q3_k: 256 elements in 16 sub-blocks of 16, `d · (scale − 32) · (q − 4)`, scale of 6 bits, q of 3.
 * Bytes: third bits [32] · pairs of bits [64] · packed scales [12] · d f16.
 *
 * Each half of 128 elements is four runs of 32. Run r of half h, element j: pair of bits from byte
 * `32·h + j` at bit 2r, third bit from byte j at bit 4h + r. f32 holds every value exactly.
 *
 * @module
 */
import { numberFromF16 } from "@kvault/core";
import { type BlockLayout, f16BitsAt } from "./layout.ts";

/** Scale (−32 to 31) of sub-block `s` (0-15); `at` is where the block begins. */
export function q3kScale(bytes: Uint8Array, at: number, s: number): number {
  const low = ((bytes[at + 96 + (s & 7)] as number) >> ((s >> 3) << 2)) & 15;
  const high = ((bytes[at + 104 + (s & 3)] as number) >> ((s >> 2) << 1)) & 3;
  return (low | (high << 4)) - 32;
}

/** Value (−4 to 3) of element `j` in run `r` of half `h`. */
export function q3kValue(bytes: Uint8Array, at: number, h: number, r: number, j: number): number {
  const low = ((bytes[at + 32 + 32 * h + j] as number) >> (2 * r)) & 3;
  const high = ((bytes[at + j] as number) >> (4 * h + r)) & 1;
  return (low | (high << 2)) - 4;
}

export const q3_k: BlockLayout = {
  blockElements: 256,
  blockBytes: 110,
  dequantise(bytes, numBlocks, out) {
    for (let b = 0; b < numBlocks; b++) {
      const at = 110 * b;
      const d = numberFromF16(f16BitsAt(bytes, at + 108));
      for (let h = 0; h < 2; h++) {
        for (let r = 0; r < 4; r++) {
          for (let j = 0; j < 32; j++) {
            const scale = d * q3kScale(bytes, at, 8 * h + 2 * r + (j >> 4));
            out[256 * b + 128 * h + 32 * r + j] = scale * q3kValue(bytes, at, h, r, j);
          }
        }
      }
    }
  },
};
