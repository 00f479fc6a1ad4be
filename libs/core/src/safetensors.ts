/**
 * Safetensors: named tensors in one byte string that any reader of the format opens.
 *
 * Layout: u64 little-endian header length, JSON header, data. We write wide elements before
 * narrow ones, then by name, and pad the header with spaces so that data starts 64-byte
 * aligned: every tensor is aligned to its element, and the same tensors always give the same
 * bytes (parts are content-addressed). The reader trusts no number: lengths, counts, dtypes,
 * shapes and spans are checked before a view is made, and the spans must tile the data.
 *
 * Format: https://github.com/huggingface/safetensors (format section).
 *
 * @module
 */
import { KvaultError } from "./errors.ts";

/** Bytes per element of every dtype we read or write. */
export const DTYPE_BYTES = { F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U32: 4, I16: 2, U16: 2, I8: 1, U8: 1 } as const;

export type Dtype = keyof typeof DTYPE_BYTES;

export interface NamedTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Exactly `product(shape) × bytes(dtype)` little-endian bytes. */
  readonly data: Uint8Array;
}

export interface SafetensorsFile {
  readonly tensors: ReadonlyMap<string, NamedTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

const METADATA = "__metadata__";
const ALIGNMENT = 64;
/** Reference readers refuse headers above 100 MB; ours hold dozens of tensors. */
const MAX_HEADER_BYTES = 16 * 1024 * 1024;
const MAX_TENSORS = 65_536;
const MAX_RANK = 8;

/** Tensors and string metadata → bytes, deterministic. */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, NamedTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  if (tensors.has(METADATA)) throw new RangeError(`Cannot encode tensor "${METADATA}": the name is reserved`);
  const names = [...tensors.keys()].sort();
  names.sort((a, b) => elementBytes(tensors, b) - elementBytes(tensors, a)); // stable: names stay in order
  const header: [name: string, entry: unknown][] = [];
  const metadataNames = Object.keys(metadata).sort();
  if (metadataNames.length > 0) header.push([METADATA, Object.fromEntries(metadataNames.map((name) => [name, metadata[name]]))]);
  let end = 0;
  for (const name of names) {
    const { dtype, shape, data } = tensors.get(name) as NamedTensor;
    const expected = elementCount(shape) * DTYPE_BYTES[dtype];
    if (data.byteLength !== expected) {
      throw new RangeError(
        `Cannot encode tensor "${name}": ${dtype} [${shape.join(", ")}] is ${expected} bytes, found ${data.byteLength}`,
      );
    }
    header.push([name, { dtype, shape, data_offsets: [end, end + data.byteLength] }]);
    end += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)), "utf8");
  const headerBytes = Math.ceil((8 + json.byteLength) / ALIGNMENT) * ALIGNMENT - 8;
  const out = new Uint8Array(8 + headerBytes + end);
  new DataView(out.buffer).setBigUint64(0, BigInt(headerBytes), true);
  out.fill(0x20, 8, 8 + headerBytes);
  out.set(json, 8);
  let cursor = 8 + headerBytes;
  for (const name of names) {
    const { data } = tensors.get(name) as NamedTensor;
    out.set(data, cursor);
    cursor += data.byteLength;
  }
  return out;
}

/** Bytes → tensors as views into `bytes`. Throws CACHE_CORRUPT naming what is wrong. */
export function decodeSafetensors(bytes: Uint8Array): SafetensorsFile {
  const header = decodeSafetensorsHeader(bytes.subarray(0, safetensorsHeaderBytes(bytes, bytes.byteLength)), bytes.byteLength);
  const tensors = new Map<string, NamedTensor>();
  for (const [name, { dtype, shape, start, end }] of header.tensors) {
    tensors.set(name, { dtype, shape, data: bytes.subarray(start, end) });
  }
  return { tensors, metadata: header.metadata };
}

/** Where a tensor lies in its file. */
export interface SafetensorsEntry {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Bytes of the file. */
  readonly start: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Bytes from the start of a file of `fileBytes` up to its data; `bytes` are its first 8 or more. Throws CACHE_CORRUPT. */
export function safetensorsHeaderBytes(bytes: Uint8Array, fileBytes: number): number {
  if (bytes.byteLength < 8) throw corrupt(`${bytes.byteLength} bytes hold no header`);
  const declared = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(0, true);
  if (declared > BigInt(MAX_HEADER_BYTES) || declared > BigInt(fileBytes - 8)) {
    throw corrupt(`header of ${declared} bytes in a file of ${fileBytes}`);
  }
  return 8 + Number(declared);
}

/** The directory of a file of `fileBytes`, from exactly the bytes before its data. Throws CACHE_CORRUPT naming what is wrong. */
export function decodeSafetensorsHeader(bytes: Uint8Array, fileBytes: number): SafetensorsHeader {
  const dataStart = bytes.byteLength;
  const header = parseHeader(bytes.subarray(8));
  const dataBytes = fileBytes - dataStart;
  const tensors = new Map<string, SafetensorsEntry>();
  const spans: [begin: number, end: number][] = [];
  let metadata: Record<string, string> = {};
  const entries = Object.entries(header);
  if (entries.length > MAX_TENSORS + 1) throw corrupt(`${entries.length} tensors, limit ${MAX_TENSORS}`);
  for (const [name, entry] of entries) {
    if (name === METADATA) {
      metadata = checkMetadata(entry);
      continue;
    }
    const { dtype, shape, begin, end } = checkEntry(name, entry, dataBytes);
    tensors.set(name, { dtype, shape, start: dataStart + begin, end: dataStart + end });
    spans.push([begin, end]);
  }
  checkCoverage(spans, dataBytes);
  return { tensors, metadata };
}

/** Product of `shape`. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

function parseHeader(bytes: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch (cause) {
    throw corrupt("header is not JSON", cause);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) throw corrupt("header is not an object");
  return header as Record<string, unknown>;
}

function checkMetadata(entry: unknown): Record<string, string> {
  if (
    typeof entry !== "object" ||
    entry === null ||
    Array.isArray(entry) ||
    Object.values(entry).some((value) => typeof value !== "string")
  ) {
    throw corrupt("metadata is not a map of strings");
  }
  return entry as Record<string, string>;
}

function checkEntry(
  name: string,
  entry: unknown,
  dataBytes: number,
): { dtype: Dtype; shape: number[]; begin: number; end: number } {
  const fields = (typeof entry === "object" && entry !== null ? entry : {}) as Record<string, unknown>;
  const { dtype, shape, data_offsets: offsets } = fields;
  if (typeof dtype !== "string" || !Object.hasOwn(DTYPE_BYTES, dtype))
    throw corrupt(`tensor "${name}" has dtype ${JSON.stringify(dtype)}`);
  if (!isCountArray(shape) || shape.length > MAX_RANK) throw corrupt(`tensor "${name}" has shape ${JSON.stringify(shape)}`);
  if (!isCountArray(offsets) || offsets.length !== 2) throw corrupt(`tensor "${name}" has offsets ${JSON.stringify(offsets)}`);
  const [begin, end] = offsets as [number, number];
  const expected = elementCount(shape) * DTYPE_BYTES[dtype as Dtype];
  if (end > dataBytes || end - begin !== expected) {
    throw corrupt(`tensor "${name}" spans ${begin}..${end} of ${dataBytes} bytes, needs ${expected}`);
  }
  return { dtype: dtype as Dtype, shape, begin, end };
}

/** The format allows neither holes nor overlaps nor a tail, so a damaged header length cannot shift the data. */
function checkCoverage(spans: [begin: number, end: number][], dataBytes: number): void {
  spans.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let covered = 0;
  for (const [begin, end] of spans) {
    if (begin !== covered) throw corrupt(`tensors leave a hole or overlap at byte ${Math.min(begin, covered)} of the data`);
    covered = end;
  }
  if (covered !== dataBytes) throw corrupt(`tensors end at byte ${covered} of ${dataBytes}`);
}

function elementBytes(tensors: ReadonlyMap<string, NamedTensor>, name: string): number {
  return DTYPE_BYTES[(tensors.get(name) as NamedTensor).dtype];
}

function isCountArray(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}

function corrupt(what: string, cause?: unknown): KvaultError {
  return new KvaultError("CACHE_CORRUPT", `Cannot read safetensors: ${what}`, cause === undefined ? {} : { cause });
}
