/**
 * Any weight source as the bytes of a GGUF file, the way llama.cpp's converter would write it:
 * the same numbers through the other door.
 *
 * @module
 */
import { dequantise } from "../dequant/registry.ts";
import type { WeightSource } from "../formats/weight-source.ts";
import { encodeGguf, type GgufTensorData, type GgufValue } from "./encode-gguf.ts";

/** Matrices keep their types, vectors become f32; `headDim` rows of `llama` queries and keys are interleaved. */
export async function asGguf(source: WeightSource, headDim: number): Promise<Uint8Array> {
  const { metadata } = source;
  const values: Record<string, GgufValue> = {};
  for (const key of metadata.keys()) values[key] = metadataValue(source, key);
  const isLlama = metadata.string("general.architecture") === "llama";
  const tensors: Record<string, GgufTensorData> = {};
  for (const [name, { type, shape }] of source.tensors) {
    const data = await source.readTensor(name);
    if (shape.length === 1) {
      const floats = dequantise(type, data);
      tensors[name] = { type: "f32", shape, data: new Uint8Array(floats.buffer) };
    } else {
      const permuted = isLlama && !source.interleavedRows && /attn_[qk]\.weight$/.test(name);
      tensors[name] = { type, shape, data: permuted ? interleave(data, shape[1] as number, headDim) : data };
    }
  }
  return encodeGguf(values, tensors);
}

/** Row i of the first half of a head goes to 2i, row i of the second to 2i + 1. */
function interleave(bytes: Uint8Array, numRows: number, headDim: number): Uint8Array {
  const out = new Uint8Array(bytes.byteLength);
  const rowBytes = bytes.byteLength / numRows;
  for (let row = 0; row < numRows; row++) {
    const within = row % headDim;
    const half = headDim / 2;
    const to = row - within + (within < half ? 2 * within : 2 * (within - half) + 1);
    out.set(bytes.subarray(row * rowBytes, (row + 1) * rowBytes), to * rowBytes);
  }
  return out;
}

function metadataValue({ metadata }: WeightSource, key: string): GgufValue {
  const read: readonly (() => GgufValue)[] = [
    () => metadata.string(key),
    () => metadata.boolean(key),
    () => numberValue(metadata.number(key)),
    () => ({ strings: metadata.strings(key) }),
    () => ({ f32s: metadata.numbers(key) }),
  ];
  for (const attempt of read) {
    try {
      return attempt();
    } catch {
      // of another type
    }
  }
  throw new TypeError(`Cannot write metadata "${key}" as GGUF`);
}

function numberValue(value: number): GgufValue {
  return Number.isInteger(value) && value >= 0 ? { u32: value } : { f32: value };
}
