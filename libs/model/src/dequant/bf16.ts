/**
 * bf16: the upper half of an f32.
 *
 * @module
 */
import { type BlockLayout, f16BitsAt } from "./layout.ts";

export const bf16: BlockLayout = {
  blockElements: 1,
  blockBytes: 2,
  dequantise(bytes, numBlocks, out) {
    const bits = new Uint32Array(out.buffer, out.byteOffset, numBlocks);
    for (let i = 0; i < numBlocks; i++) bits[i] = f16BitsAt(bytes, 2 * i) << 16;
  },
};
