/**
 * int8 codec: 8-bit codes with their own scale and zero for every row (one token of one head).
 *
 *   zero = min,  scale = (max - min) / 255 rounded up to f16,  code = round((x - zero) / scale)
 *   decoded = zero + scale · code
 *
 * Codes are computed with the scale as stored, and it is rounded up, so nothing clips and no
 * value is off by more than half a scale (and f32 rounding). Rows of one value, zero included,
 * come back exactly. Rounding is half to even. Tensors `k`, `v` U8 `[n, D]` beside `k.scale`,
 * `v.scale` F16 `[n, 1]` and `k.zero`, `v.zero` F32 `[n, 1]`: `k * k.scale + k.zero` in any
 * tensor library. Bytes: `D + 6` a row, 0.55 of f16 at D = 64.
 *
 * Per token because tokens then need no neighbours. Models with outlier channels in their keys
 * (Qwen2) lose some retrieval by it; per-channel codecs do better there.
 *
 * @module
 */
import { alignedView, bytesOf, decodeF16, f16FromNumber, KvaultError, type NamedTensor, numberFromF16 } from "@kvault/core";
import { z } from "zod";
import { roundHalfEven } from "../round-half-even.ts";
import type { CodecFactory, RaggedLayerKv, RaggedLayout } from "../types.ts";
import { expectTensors, type TensorPlan } from "./expect-tensors.ts";

const TOP_CODE = 255;
/** Half a step of a range twice the largest magnitude, plus the f16 rounding of the scale. */
const MAX_RELATIVE_ERROR = (1 / TOP_CODE) * (1 + 2 ** -9);

export const int8: CodecFactory = {
  name: "int8",
  summary: "1 byte a value, one scale and zero per token and head",
  source: "own",
  params: z.strictObject({}),
  create: () => ({ maxRelativeError: MAX_RELATIVE_ERROR, encode, decode, encodedBytes }),
};

function encode({ headDim, position_n, key_nD, value_nD }: RaggedLayerKv): Map<string, NamedTensor> {
  const tensors = new Map<string, NamedTensor>();
  putQuantised(tensors, "k", key_nD, position_n.length, headDim);
  putQuantised(tensors, "v", value_nD, position_n.length, headDim);
  return tensors;
}

function decode(
  tensors: ReadonlyMap<string, NamedTensor>,
  { headDim, position_n }: RaggedLayout,
): { key_nD: Float32Array; value_nD: Float32Array } {
  const numRows = position_n.length;
  expectTensors(tensors, { ...planOf("k", numRows, headDim), ...planOf("v", numRows, headDim) });
  return {
    key_nD: dequantised(tensors, "k", numRows, headDim),
    value_nD: dequantised(tensors, "v", numRows, headDim),
  };
}

function encodedBytes({ headDim, position_n }: RaggedLayout): number {
  return 2 * position_n.length * (headDim + 2 + 4);
}

function planOf(name: "k" | "v", numRows: number, headDim: number): TensorPlan {
  return {
    [name]: { dtype: "U8", shape: [numRows, headDim] },
    [`${name}.scale`]: { dtype: "F16", shape: [numRows, 1] },
    [`${name}.zero`]: { dtype: "F32", shape: [numRows, 1] },
  };
}

function putQuantised(
  tensors: Map<string, NamedTensor>,
  name: "k" | "v",
  source_nD: Float32Array,
  numRows: number,
  D: number,
): void {
  const code_nD = new Uint8Array(numRows * D);
  const scale_n = new Uint16Array(numRows);
  const zero_n = new Float32Array(numRows);
  for (let row = 0; row < numRows; row++) {
    const base = row * D;
    let min = Number.POSITIVE_INFINITY;
    let max = Number.NEGATIVE_INFINITY;
    for (let i = base; i < base + D; i++) {
      const x = source_nD[i];
      if (x < min) min = x;
      if (x > max) max = x;
    }
    const half = f16Up((max - min) / TOP_CODE);
    if (half >= 0x7c00) throw rangeTooWide(name, max - min);
    const scale = numberFromF16(half);
    scale_n[row] = half;
    zero_n[row] = min;
    if (scale === 0) continue;
    for (let i = base; i < base + D; i++) code_nD[i] = roundHalfEven((source_nD[i] - min) / scale);
  }
  tensors.set(name, { dtype: "U8", shape: [numRows, D], data: code_nD });
  tensors.set(`${name}.scale`, { dtype: "F16", shape: [numRows, 1], data: bytesOf(scale_n) });
  tensors.set(`${name}.zero`, { dtype: "F32", shape: [numRows, 1], data: bytesOf(zero_n) });
}

function dequantised(tensors: ReadonlyMap<string, NamedTensor>, name: "k" | "v", numRows: number, D: number): Float32Array {
  const code_nD = tensors.get(name)!.data;
  const scale_n = decodeF16(alignedView(tensors.get(`${name}.scale`)!.data, Uint16Array));
  const zero_n = alignedView(tensors.get(`${name}.zero`)!.data, Float32Array);
  const out_nD = new Float32Array(numRows * D);
  for (let row = 0; row < numRows; row++) {
    const base = row * D;
    const scale = scale_n[row];
    const zero = zero_n[row];
    for (let i = base; i < base + D; i++) out_nD[i] = zero + scale * code_nD[i];
  }
  return out_nD;
}

/** Smallest half not below `value` ≥ 0, as bits. */
function f16Up(value: number): number {
  const half = f16FromNumber(value);
  return numberFromF16(half) < value ? half + 1 : half;
}

function rangeTooWide(name: "k" | "v", range: number): KvaultError {
  const what = name === "k" ? "keys" : "values";
  return new KvaultError("SPEC_INVALID", `Cannot store ${what} as int8: found a row spanning ${range}`, {
    details: { codec: "int8", found: String(range) },
  });
}
