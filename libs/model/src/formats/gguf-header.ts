/**
 * The header of a GGUF file (versions 2 and 3, little endian): metadata pairs, then one record
 * per tensor. Every count and length is checked against a named limit and against the bytes
 * that are there before anything is allocated from it.
 *
 * Written here rather than taken from `@huggingface/gguf` 0.4.6: that reader pads its window
 * with zeros, so a file cut inside its header parses as hundreds of empty tensors, and a 150 K
 * vocabulary takes it 600 ms (this one: see gguf.ts).
 *
 * Format: the GGUF specification in the ggml repository, docs/gguf.md.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { GgufEntry, GgufScalar } from "./gguf-metadata.ts";

const MAGIC = 0x46554747; // "GGUF"
const SUPPORTED_VERSIONS: readonly number[] = [2, 3];
/** Largest published models hold a few thousand tensors. */
const MAX_TENSORS = 65_536;
/** GGML tensors have at most four dimensions. */
const MAX_DIMENSIONS = 4;
const MAX_METADATA_PAIRS = 65_536;
/** Keys and tensor names: the specification allows 65,535 bytes. */
const MAX_NAME_BYTES = 65_535;
/** Chat templates and licences are the longest values seen, below 100 KB. */
const MAX_STRING_BYTES = 16 * 1024 * 1024;
/** Vocabularies are the longest arrays; the largest known has 262,144 tokens and 514,906 merges. */
const MAX_ARRAY_LENGTH = 4 * 1024 * 1024;
const DEFAULT_ALIGNMENT = 32;
const MAX_ALIGNMENT = 1024 * 1024;

/** Value type ids of the specification. */
const STRING = 8;
const ARRAY = 9;
/** Bytes of the fixed-size types by id: u8 i8 u16 i16 u32 i32 f32 bool – – u64 i64 f64. */
const FIXED_BYTES: readonly number[] = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];

/** A tensor record, checked for form only: sizes are checked against the type and file by the caller. */
interface GgufTensorRecord {
  readonly name: string;
  readonly typeId: number;
  /** `[ne0 (fastest), ne1, …]`. */
  readonly shape: readonly number[];
  /** From the start of the tensor data. */
  readonly offset: number;
}

export interface GgufHeader {
  readonly metadata: ReadonlyMap<string, GgufEntry>;
  readonly tensors: readonly GgufTensorRecord[];
  readonly alignment: number;
  /** Where tensor data begins in the file. */
  readonly dataStart: number;
}

/** Thrown by {@link parseGgufHeader} when the header goes on after the bytes given. */
export class GgufHeaderCut extends Error {
  readonly where: string;
  constructor(where: string) {
    super(`GGUF header ends inside ${where}`);
    this.where = where;
  }
}

/**
 * Parses the header at the start of `bytes`; arrays keep views into `bytes`. Throws
 * {@link GgufHeaderCut} when more bytes are needed, MODEL_CORRUPT or MODEL_UNSUPPORTED otherwise.
 */
export function parseGgufHeader(bytes: Uint8Array, file: string): GgufHeader {
  const reader = new HeaderReader(bytes, file);
  reader.where = "the fixed header";
  if (reader.u32() !== MAGIC) throw reader.corrupt("it does not begin with GGUF");
  const version = reader.u32();
  if (!SUPPORTED_VERSIONS.includes(version)) {
    throw new KvaultError(
      "MODEL_UNSUPPORTED",
      `Cannot read ${file}: GGUF version ${version}, supported are 2 and 3 (little endian)`,
      {
        details: { version },
      },
    );
  }
  const numTensors = reader.count("tensors", MAX_TENSORS);
  const numPairs = reader.count("metadata pairs", MAX_METADATA_PAIRS);
  const metadata = new Map<string, GgufEntry>();
  for (let i = 0; i < numPairs; i++) {
    reader.where = `metadata pair ${i} of ${numPairs}`;
    const key = reader.string(MAX_NAME_BYTES);
    reader.where = `metadata "${key}"`;
    if (metadata.has(key)) throw reader.corrupt(`metadata "${key}" is there twice`);
    metadata.set(key, reader.entry(reader.u32()));
  }
  const tensors: GgufTensorRecord[] = [];
  for (let i = 0; i < numTensors; i++) {
    reader.where = `tensor record ${i} of ${numTensors}`;
    const name = reader.string(MAX_NAME_BYTES);
    reader.where = `the record of tensor "${name}"`;
    const numDimensions = reader.u32();
    if (numDimensions < 1 || numDimensions > MAX_DIMENSIONS) {
      throw reader.corrupt(`tensor "${name}" has ${numDimensions} dimensions, limit ${MAX_DIMENSIONS}`);
    }
    const shape: number[] = [];
    for (let d = 0; d < numDimensions; d++) shape.push(reader.u64());
    const typeId = reader.u32();
    tensors.push({ name, typeId, shape, offset: reader.u64() });
  }
  const alignment = readAlignment(metadata, reader);
  return { metadata, tensors, alignment, dataStart: Math.ceil(reader.position / alignment) * alignment };
}

function readAlignment(metadata: ReadonlyMap<string, GgufEntry>, reader: HeaderReader): number {
  const entry = metadata.get("general.alignment");
  if (entry === undefined) return DEFAULT_ALIGNMENT;
  const value = entry.kind === "scalar" ? entry.value : undefined;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 8 || value > MAX_ALIGNMENT || value % 8 !== 0) {
    throw reader.corrupt(`general.alignment is ${String(value)}, expected a multiple of 8 up to ${MAX_ALIGNMENT}`);
  }
  return value;
}

/** A cursor over header bytes; `where` says what is being read, for errors. */
class HeaderReader {
  where = "the header";
  position = 0;
  readonly #buffer: Buffer;
  readonly #file: string;

  constructor(bytes: Uint8Array, file: string) {
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#file = file;
  }

  corrupt(what: string): KvaultError {
    return new KvaultError("MODEL_CORRUPT", `Cannot read ${this.#file}: ${what}`);
  }

  u32(): number {
    return this.#buffer.readUInt32LE(this.#take(4));
  }

  /** An unsigned 64-bit number that a double holds exactly. */
  u64(): number {
    const value = this.#buffer.readBigUInt64LE(this.#take(8));
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.corrupt(`${this.where} holds the number ${value}`);
    return Number(value);
  }

  count(what: string, limit: number): number {
    const value = this.u64();
    if (value > limit) throw this.corrupt(`${value} ${what}, limit ${limit}`);
    return value;
  }

  string(limitBytes: number): string {
    const length = this.u64();
    if (length > limitBytes) throw this.corrupt(`${this.where} holds a string of ${length} bytes, limit ${limitBytes}`);
    const start = this.#take(length);
    return this.#buffer.toString("utf8", start, start + length);
  }

  entry(typeId: number): GgufEntry {
    if (typeId !== ARRAY) return { kind: "scalar", value: this.#scalar(typeId) };
    const elementType = this.u32();
    const length = this.u64();
    if (length > MAX_ARRAY_LENGTH) throw this.corrupt(`${this.where} is an array of ${length}, limit ${MAX_ARRAY_LENGTH}`);
    const start = this.position;
    if (elementType === STRING) {
      for (let i = 0; i < length; i++) this.#skipString();
    } else {
      this.#take(length * this.#fixedBytes(elementType));
    }
    return this.#lazyArray(elementType, length, start);
  }

  #lazyArray(elementType: number, length: number, start: number): GgufEntry {
    let values: GgufScalar[] | undefined;
    const decode = (): readonly GgufScalar[] => {
      if (values !== undefined) return values;
      const decoded: GgufScalar[] = new Array(length);
      this.position = start;
      for (let i = 0; i < length; i++) decoded[i] = this.#scalar(elementType);
      values = decoded;
      return decoded;
    };
    return { kind: "array", length, decode };
  }

  #skipString(): void {
    const length = this.u64();
    if (length > MAX_STRING_BYTES)
      throw this.corrupt(`${this.where} holds a string of ${length} bytes, limit ${MAX_STRING_BYTES}`);
    this.#take(length);
  }

  #fixedBytes(typeId: number): number {
    const bytes = FIXED_BYTES[typeId] ?? 0;
    if (bytes === 0) throw this.corrupt(`${this.where} has value type ${typeId}`);
    return bytes;
  }

  #scalar(typeId: number): GgufScalar {
    if (typeId === STRING) return this.string(MAX_STRING_BYTES);
    const at = this.#take(this.#fixedBytes(typeId));
    const buffer = this.#buffer;
    switch (typeId) {
      case 0:
        return buffer.readUInt8(at);
      case 1:
        return buffer.readInt8(at);
      case 2:
        return buffer.readUInt16LE(at);
      case 3:
        return buffer.readInt16LE(at);
      case 4:
        return buffer.readUInt32LE(at);
      case 5:
        return buffer.readInt32LE(at);
      case 6:
        return buffer.readFloatLE(at);
      case 7:
        return buffer.readUInt8(at) !== 0;
      case 10:
        return this.#exact(buffer.readBigUInt64LE(at));
      case 11:
        return this.#exact(buffer.readBigInt64LE(at));
      default:
        return buffer.readDoubleLE(at);
    }
  }

  #exact(value: bigint): number {
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw this.corrupt(`${this.where} holds the number ${value}`);
    return number;
  }

  /** Moves past `count` bytes and returns where they begin. */
  #take(count: number): number {
    const start = this.position;
    if (count > this.#buffer.byteLength - start) throw new GgufHeaderCut(this.where);
    this.position = start + count;
    return start;
  }
}
