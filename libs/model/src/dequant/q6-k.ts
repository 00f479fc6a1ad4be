/**
 * q6_k: 256 elements in 16 sub-blocks of 16, `d · scale · (q − 32)`, scale i8, q of 6 bits.
 * Bytes: low nibbles [128] · high pairs of bits [64] · scales i8 [16] · d f16.
 *
 * Each half of 128 elements is four runs of 32. Run r, element j: low nibble from byte
 * `32·(r & 1) + j` (low half of it for r < 2, high half otherwise), high bits from byte j at
 * bit 2r. d · scale has at most 18 significant bits and the product 24, so f32 holds it exactly.
 *
 * @module
 */
import { numberFromF16 } from "@kvault/core";
import { type BlockLayout, f16BitsAt } from "./layout.ts";

/** The 6-bit value (0-63) of element `j` in run `r` of half `h`; `at` is where the block begins. */
export function q6kValue(bytes: Uint8Array, at: number, h: number, r: number, j: number): number {
  const low = ((bytes[at + 64 * h + 32 * (r & 1) + j] as number) >> ((r >> 1) << 2)) & 15;
  const high = ((bytes[at + 128 + 32 * h + j] as number) >> (2 * r)) & 3;
  return low | (high << 4);
}

export const q6_k: BlockLayout = {
  blockElements: 256,
  blockBytes: 210,
  dequantise(bytes, numBlocks, out) {
    for (let b = 0; b < numBlocks; b++) {
      const at = 210 * b;
      const d = numberFromF16(f16BitsAt(bytes, at + 208));
      for (let h = 0; h < 2; h++) {
        for (let r = 0; r < 4; r++) {
          const to = 256 * b + 128 * h + 32 * r;
          for (let j = 0; j < 32; j++) {
            const scale = ((bytes[at + 192 + 8 * h + 2 * r + (j >> 4)] as number) << 24) >> 24;
            out[to + j] = d * scale * (q6kValue(bytes, at, h, r, j) - 32);
          }
        }
      }
    }
  },
};
