/**
 * The layouts we decode, by GGML name. Adding one is a file and a line here.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { bf16 } from "./bf16.ts";
import { f16 } from "./f16.ts";
import { f32 } from "./f32.ts";
import { iq4_nl } from "./iq4-nl.ts";
import type { BlockLayout } from "./layout.ts";
import { q2_k } from "./q2-k.ts";
import { q3_k } from "./q3-k.ts";
import { q4_0 } from "./q4-0.ts";
import { q4_1 } from "./q4-1.ts";
import { q4_k } from "./q4-k.ts";
import { q5_0 } from "./q5-0.ts";
import { q5_k } from "./q5-k.ts";
import { q6_k } from "./q6-k.ts";
import { q8_0 } from "./q8-0.ts";

export const BLOCK_LAYOUTS: ReadonlyMap<string, BlockLayout> = new Map(
  Object.entries({ bf16, f16, f32, iq4_nl, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_k, q6_k, q8_0 }),
);

/** The layout named `type`; MODEL_UNSUPPORTED when we do not decode it. */
export function blockLayout(type: string): BlockLayout {
  const layout = BLOCK_LAYOUTS.get(type);
  if (layout === undefined) {
    const known = [...BLOCK_LAYOUTS.keys()].join(", ");
    throw new KvaultError("MODEL_UNSUPPORTED", `Cannot decode tensor type "${type}": supported are ${known}`, {
      details: { type },
    });
  }
  return layout;
}

/** `bytes` of whole blocks → f32, into `out` when given. RangeError when sizes do not agree. */
export function dequantise(type: string, bytes: Uint8Array, out?: Float32Array): Float32Array {
  const { blockElements, blockBytes, dequantise: decode } = blockLayout(type);
  const numBlocks = bytes.byteLength / blockBytes;
  if (!Number.isInteger(numBlocks)) {
    throw new RangeError(`Cannot dequantise ${type}: ${bytes.byteLength} bytes are not whole blocks of ${blockBytes}`);
  }
  const into = out ?? new Float32Array(numBlocks * blockElements);
  if (into.length !== numBlocks * blockElements) {
    throw new RangeError(`Cannot dequantise ${type}: ${numBlocks * blockElements} elements into ${into.length}`);
  }
  decode(bytes, numBlocks, into);
  return into;
}
