/**
 * f16 codec: half precision, nearest, ties to even. Tensors `k`, `v` F16 `[n, D]`.
 *
 * What does not fit (65,520 and above) is refused rather than stored as infinity: one such
 * key would turn every later answer into NaN.
 *
 * @module
 */
import { alignedView, bytesOf, decodeF16, encodeF16, KvaultError, type NamedTensor } from "@kvault/core";
import { z } from "zod";
import type { CodecFactory, RaggedLayerKv, RaggedLayout } from "../types.ts";
import { expectTensors } from "./expect-tensors.ts";

export const f16: CodecFactory = {
  name: "f16",
  summary: "2 bytes a value, half precision",
  source: "own",
  params: z.strictObject({}),
  create: () => ({ maxRelativeError: 2 ** -11, encode, decode, encodedBytes }),
};

function encode({ headDim, position_n, key_nD, value_nD }: RaggedLayerKv): Map<string, NamedTensor> {
  const shape = [position_n.length, headDim];
  return new Map([
    ["k", { dtype: "F16", shape, data: bytesOf(encodeHalves("key", key_nD)) }],
    ["v", { dtype: "F16", shape, data: bytesOf(encodeHalves("value", value_nD)) }],
  ]);
}

function decode(
  tensors: ReadonlyMap<string, NamedTensor>,
  { headDim, position_n }: RaggedLayout,
): { key_nD: Float32Array; value_nD: Float32Array } {
  const shape = [position_n.length, headDim];
  expectTensors(tensors, { k: { dtype: "F16", shape }, v: { dtype: "F16", shape } });
  return {
    key_nD: decodeF16(alignedView(tensors.get("k")!.data, Uint16Array)),
    value_nD: decodeF16(alignedView(tensors.get("v")!.data, Uint16Array)),
  };
}

function encodedBytes({ headDim, position_n }: RaggedLayout): number {
  return 2 * 2 * position_n.length * headDim;
}

/** Halves of `source`; SPEC_INVALID for what they cannot hold. */
export function encodeHalves(what: "key" | "value", source: Float32Array): Uint16Array {
  const halves = encodeF16(source);
  for (let i = 0; i < halves.length; i++) {
    if ((halves[i] & 0x7c00) === 0x7c00) {
      throw new KvaultError("SPEC_INVALID", `Cannot store ${what} as f16: found ${source[i]}, largest is 65504`, {
        details: { codec: "f16", found: String(source[i]) },
      });
    }
  }
  return halves;
}
