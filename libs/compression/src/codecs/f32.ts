/**
 * f32 codec: keys and values as computed. Tensors `k`, `v` F32 `[n, D]`.
 *
 * @module
 */
import { alignedView, bytesOf, type NamedTensor } from "@kvault/core";
import { z } from "zod";
import type { CodecFactory, RaggedLayerKv, RaggedLayout } from "../types.ts";
import { expectTensors } from "./expect-tensors.ts";

export const f32: CodecFactory = {
  name: "f32",
  summary: "4 bytes a value, lossless",
  source: "own",
  params: z.strictObject({}),
  create: () => ({ maxRelativeError: 0, encode, decode, encodedBytes }),
};

function encode({ headDim, position_n, key_nD, value_nD }: RaggedLayerKv): Map<string, NamedTensor> {
  const shape = [position_n.length, headDim];
  return new Map([
    ["k", { dtype: "F32", shape, data: bytesOf(key_nD) }],
    ["v", { dtype: "F32", shape, data: bytesOf(value_nD) }],
  ]);
}

function decode(
  tensors: ReadonlyMap<string, NamedTensor>,
  { headDim, position_n }: RaggedLayout,
): { key_nD: Float32Array; value_nD: Float32Array } {
  const shape = [position_n.length, headDim];
  expectTensors(tensors, { k: { dtype: "F32", shape }, v: { dtype: "F32", shape } });
  return {
    key_nD: alignedView(tensors.get("k")!.data, Float32Array),
    value_nD: alignedView(tensors.get("v")!.data, Float32Array),
  };
}

function encodedBytes({ headDim, position_n }: RaggedLayout): number {
  return 2 * 4 * position_n.length * headDim;
}
