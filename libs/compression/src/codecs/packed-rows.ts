/**
 * Codes of 2, 3, 4 or 8 bits, packed row by row.
 *
 * A row of D codes takes `ceil(D·bits / 8)` bytes: a little-endian bit string, code d at bits
 * `[d·bits, (d + 1)·bits)`, so of two 4-bit codes the first is the low nibble. What is left of
 * a row's last byte is 0.
 *
 * @module
 */

/** Bits of one code. */
export type CodeBits = 2 | 3 | 4 | 8;

/** Bytes of one packed row. */
export function packedRowBytes(D: number, bits: CodeBits): number {
  return Math.ceil((D * bits) / 8);
}

/** Packs `code_D` (a row's codes) into `out` from byte `base`; those bytes must be 0. */
export function packRow(code_D: Uint8Array, bits: CodeBits, out: Uint8Array, base: number): void {
  const D = code_D.length;
  if (bits === 8) {
    for (let d = 0; d < D; d++) out[base + d] = code_D[d];
    return;
  }
  for (let d = 0, at = 0; d < D; d++, at += bits) {
    const shifted = code_D[d] << (at & 7);
    const byte = base + (at >> 3);
    out[byte] |= shifted & 0xff;
    if (shifted > 0xff) out[byte + 1] |= shifted >> 8;
  }
}

/** Unpacks the row at byte `base` of `packed` into `code_D`. */
export function unpackRow(packed: Uint8Array, base: number, bits: CodeBits, code_D: Uint8Array): void {
  const D = code_D.length;
  if (bits === 8) {
    for (let d = 0; d < D; d++) code_D[d] = packed[base + d];
  } else if (bits === 4) {
    const even = D & ~1;
    for (let d = 0, byte = base; d < even; d += 2, byte++) {
      const pair = packed[byte];
      code_D[d] = pair & 15;
      code_D[d + 1] = pair >> 4;
    }
    if (even < D) code_D[even] = packed[base + (even >> 1)] & 15;
  } else {
    const mask = (1 << bits) - 1;
    for (let d = 0, at = 0; d < D; d++, at += bits) {
      const byte = base + (at >> 3);
      const shift = at & 7;
      const word = shift + bits > 8 ? packed[byte] | (packed[byte + 1] << 8) : packed[byte];
      code_D[d] = (word >> shift) & mask;
    }
  }
}
