/**
 * Writes GGUF files for tests: byte fixtures made where they are used, no model needed.
 *
 * @module
 */
import { GGML_TYPES } from "../formats/ggml-types.ts";

export type GgufValue =
  | string
  | boolean
  | { readonly u32: number }
  | { readonly u64: bigint }
  | { readonly f32: number }
  | { readonly strings: readonly string[] }
  | { readonly i32s: readonly number[] }
  | { readonly f32s: readonly number[] };

export interface GgufTensorData {
  /** Lower-case GGML name. */
  readonly type: string;
  /** `[ne0, ne1, …]`. */
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

const ALIGNMENT = 32;

/** Bytes of a GGUF version 3 file. */
export function encodeGguf(
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: Readonly<Record<string, GgufTensorData>> = {},
): Uint8Array {
  const typeIds = new Map([...GGML_TYPES].map(([id, { name }]) => [name, id]));
  const header: Buffer[] = [Buffer.from("GGUF"), u32(3), u64(Object.keys(tensors).length), u64(Object.keys(metadata).length)];
  for (const [key, value] of Object.entries(metadata)) header.push(text(key), ...encodeValue(value));
  let offset = 0;
  for (const [name, { type, shape, data }] of Object.entries(tensors)) {
    header.push(text(name), u32(shape.length), ...shape.map((size) => u64(size)), u32(typeIds.get(type) as number), u64(offset));
    offset = pad(offset + data.byteLength);
  }
  const headerBytes = Buffer.concat(header);
  const out = new Uint8Array(pad(headerBytes.byteLength) + offset);
  out.set(headerBytes);
  let cursor = pad(headerBytes.byteLength);
  for (const { data } of Object.values(tensors)) {
    out.set(data, cursor);
    cursor += pad(data.byteLength);
  }
  return out;
}

function encodeValue(value: GgufValue): Buffer[] {
  if (typeof value === "string") return [u32(8), text(value)];
  if (typeof value === "boolean") return [u32(7), Buffer.from([value ? 1 : 0])];
  if ("u32" in value) return [u32(4), u32(value.u32)];
  if ("u64" in value) return [u32(10), u64(value.u64)];
  if ("f32" in value) return [u32(6), Buffer.from(Float32Array.of(value.f32).buffer)];
  if ("strings" in value) return [u32(9), u32(8), u64(value.strings.length), ...value.strings.map(text)];
  if ("f32s" in value) {
    return [u32(9), u32(6), u64(value.f32s.length), Buffer.from(Float32Array.from(value.f32s).buffer)];
  }
  return [u32(9), u32(5), u64(value.i32s.length), Buffer.from(Int32Array.from(value.i32s).buffer)];
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "utf8");
  return Buffer.concat([u64(bytes.byteLength), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function pad(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
