/**
 * q4_k: 256 elements in 8 sub-blocks of 32, `d · scale · q − dmin · min`, scale and min of 6 bits.
 * Bytes: d f16 · dmin f16 · packed scales and mins [12] · nibbles [128]. Nibble byte 32·i + j
 * holds element j of sub-block 2i (low half) and of sub-block 2i + 1 (high half).
 *
 * The difference is rounded to f32 once.
 *
 * @module
 */
import { numberFromF16 } from "@kvault/core";
import { type BlockLayout, f16BitsAt } from "./layout.ts";

/** 6-bit scale of sub-block `s` (0-7); `at` is where the 12 packed bytes begin. */
export function q4kScale(bytes: Uint8Array, at: number, s: number): number {
  if (s < 4) return (bytes[at + s] as number) & 63;
  return ((bytes[at + s + 4] as number) & 15) | (((bytes[at + s - 4] as number) >> 6) << 4);
}

/** 6-bit min of sub-block `s`. */
export function q4kMin(bytes: Uint8Array, at: number, s: number): number {
  if (s < 4) return (bytes[at + s + 4] as number) & 63;
  return ((bytes[at + s + 4] as number) >> 4) | (((bytes[at + s] as number) >> 6) << 4);
}

export const q4_k: BlockLayout = {
  blockElements: 256,
  blockBytes: 144,
  dequantise(bytes, numBlocks, out) {
    for (let b = 0; b < numBlocks; b++) {
      const at = 144 * b;
      const d = numberFromF16(f16BitsAt(bytes, at));
      const dmin = numberFromF16(f16BitsAt(bytes, at + 2));
      for (let s = 0; s < 8; s++) {
        const scale = d * q4kScale(bytes, at + 4, s);
        const min = dmin * q4kMin(bytes, at + 4, s);
        const shift = (s & 1) << 2;
        const from = at + 16 + 32 * (s >> 1);
        const to = 256 * b + 32 * s;
        for (let j = 0; j < 32; j++) out[to + j] = scale * (((bytes[from + j] as number) >> shift) & 15) - min;
      }
    }
  },
};
