/**
 * q5_k: 256 elements in 8 sub-blocks of 32, `d · scale · q − dmin · min`, q of 5 bits.
 * Bytes: d f16 · dmin f16 · packed scales and mins [12] as in q4_k · fifth bits [32] · nibbles [128].
 * Bit s of fifth-bit byte j belongs to element j of sub-block s; nibbles lie as in q4_k.
 *
 * The difference is rounded to f32 once.
 *
 * @module
 */
import { numberFromF16 } from "@kvault/core";
import { type BlockLayout, f16BitsAt } from "./layout.ts";
import { q4kMin, q4kScale } from "./q4-k.ts";

/** The 5-bit value of element `j` of sub-block `s`; `at` is where the block begins. */
export function q5kValue(bytes: Uint8Array, at: number, s: number, j: number): number {
  const nibble = ((bytes[at + 48 + 32 * (s >> 1) + j] as number) >> ((s & 1) << 2)) & 15;
  return nibble | ((((bytes[at + 16 + j] as number) >> s) & 1) << 4);
}

export const q5_k: BlockLayout = {
  blockElements: 256,
  blockBytes: 176,
  dequantise(bytes, numBlocks, out) {
    for (let b = 0; b < numBlocks; b++) {
      const at = 176 * b;
      const d = numberFromF16(f16BitsAt(bytes, at));
      const dmin = numberFromF16(f16BitsAt(bytes, at + 2));
      for (let s = 0; s < 8; s++) {
        const scale = d * q4kScale(bytes, at + 4, s);
        const min = dmin * q4kMin(bytes, at + 4, s);
        for (let j = 0; j < 32; j++) out[256 * b + 32 * s + j] = scale * q5kValue(bytes, at, s, j) - min;
      }
    }
  },
};
