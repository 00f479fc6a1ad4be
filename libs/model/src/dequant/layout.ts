/**
 * What a dequantiser is: bytes of whole blocks → f32, in the order the elements have in a row.
 *
 * @module
 */

/**
 * Decodes `numBlocks` blocks of `bytes` from its start into `out`. Sizes are checked by the
 * caller (registry.ts). f16 scales times small integers fit f32 exactly for every
 * layout whose blocks have no separate minimum, so no rounding happens in those.
 */
type DequantiseBlocks = (bytes: Uint8Array, numBlocks: number, out: Float32Array) => void;

/** One GGML layout: `blockElements` elements in `blockBytes` bytes. */
export interface BlockLayout {
  readonly blockElements: number;
  readonly blockBytes: number;
  readonly dequantise: DequantiseBlocks;
}

/** The f16 bits at byte `at`, little endian; blocks are not aligned. */
export function f16BitsAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8);
}
