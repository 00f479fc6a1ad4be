/**
 * A GGUF weight file: metadata, tensor directory, tensor bytes by positioned reads.
 *
 * Opening reads the header only (5.9 MB for a 151 K vocabulary) and checks every tensor
 * against the file's size, so a file cut anywhere is refused before any weight is used.
 *
 * @module
 */
import { type FileHandle, open } from "node:fs/promises";
import { basename } from "node:path";
import { KvaultError } from "@kvault/core";
import { GGML_TYPES } from "./ggml-types.ts";
import { type GgufHeader, GgufHeaderCut, parseGgufHeader } from "./gguf-header.ts";
import { GgufMetadata } from "./gguf-metadata.ts";
import { rowBytes, type WeightSource, type WeightTensor } from "./weight-source.ts";

/** First read; holds the header of every model in the catalogue. Doubled until the header fits. */
const FIRST_READ_BYTES = 8 * 1024 * 1024;
/** The header of a 262 K vocabulary is below 16 MB. */
const MAX_HEADER_BYTES = 256 * 1024 * 1024;
/** Linux moves at most 2 GiB − 4 KiB per read. */
const MAX_READ_BYTES = 1024 * 1024 * 1024;

export interface GgufTensor extends WeightTensor {
  readonly name: string;
  /** In the file. */
  readonly byteOffset: number;
}

export interface GgufFile extends WeightSource {
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

/** Opens a GGUF file. MODEL_UNAVAILABLE when it cannot be opened, MODEL_CORRUPT or MODEL_UNSUPPORTED when it cannot be used. */
export async function openGguf(path: string): Promise<GgufFile> {
  const handle = await openForReading(path);
  try {
    const fileBytes = (await handle.stat()).size;
    const header = await readHeader(handle, path, fileBytes);
    const metadata = new GgufMetadata(header.metadata, basename(path));
    const tensors = tensorDirectory(header, path, fileBytes);
    let closed: Promise<void> | undefined;
    return {
      path,
      fileBytes,
      metadata,
      tensors,
      interleavedRows: true,
      async readTensor(name, rows) {
        const tensor = tensors.get(name);
        if (tensor === undefined) throw corrupt(path, `there is no tensor "${name}" among ${tensors.size}`, { tensor: name });
        const { start, length } = rowBytes(tensor, rows);
        const bytes = new Uint8Array(length);
        await readFully(handle, bytes, tensor.byteOffset + start, path, `tensor "${name}"`);
        return bytes;
      },
      close() {
        closed ??= handle.close();
        return closed;
      },
    };
  } catch (error) {
    await handle.close();
    throw error;
  }
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (cause) {
    throw new KvaultError("MODEL_UNAVAILABLE", `Cannot open ${path}: ${(cause as Error).message}`, {
      cause,
      retryable: false,
      details: { path },
    });
  }
}

async function readHeader(handle: FileHandle, path: string, fileBytes: number): Promise<GgufHeader> {
  for (let wanted = FIRST_READ_BYTES; ; wanted *= 2) {
    const length = Math.min(wanted, fileBytes, MAX_HEADER_BYTES);
    const bytes = new Uint8Array(length);
    await readFully(handle, bytes, 0, path, "the header");
    try {
      return parseGgufHeader(bytes, basename(path));
    } catch (error) {
      if (!(error instanceof GgufHeaderCut)) throw error;
      if (length === fileBytes) throw corrupt(path, `the file of ${fileBytes} bytes ends inside ${error.where}`);
      if (length === MAX_HEADER_BYTES) throw corrupt(path, `the header is longer than ${MAX_HEADER_BYTES} bytes`);
    }
  }
}

function tensorDirectory(header: GgufHeader, path: string, fileBytes: number): ReadonlyMap<string, GgufTensor> {
  const tensors = new Map<string, GgufTensor>();
  for (const { name, typeId, shape, offset } of header.tensors) {
    const type = GGML_TYPES.get(typeId);
    if (type === undefined) {
      throw new KvaultError("MODEL_UNSUPPORTED", `Cannot read ${basename(path)}: tensor "${name}" has type id ${typeId}`, {
        details: { tensor: name, typeId },
      });
    }
    if (tensors.has(name)) throw corrupt(path, `tensor "${name}" is there twice`, { tensor: name });
    const elements = shape.reduce((product, size) => product * size, 1);
    const rowElements = shape[0] as number;
    if (!Number.isSafeInteger(elements) || elements === 0 || rowElements % type.blockElements !== 0) {
      throw corrupt(path, `tensor "${name}" has shape [${shape.join(", ")}] in blocks of ${type.blockElements}`, {
        tensor: name,
      });
    }
    if (offset % header.alignment !== 0) {
      throw corrupt(path, `tensor "${name}" begins at ${offset}, not a multiple of ${header.alignment}`, { tensor: name });
    }
    const byteOffset = header.dataStart + offset;
    const byteLength = (elements / type.blockElements) * type.blockBytes;
    if (byteOffset + byteLength > fileBytes) {
      throw corrupt(path, `tensor "${name}" needs bytes ${byteOffset}..${byteOffset + byteLength}, the file has ${fileBytes}`, {
        tensor: name,
        fileBytes,
      });
    }
    tensors.set(name, { name, type: type.name, shape, byteOffset, byteLength });
  }
  return tensors;
}

async function readFully(handle: FileHandle, into: Uint8Array, at: number, path: string, what: string): Promise<void> {
  for (let done = 0; done < into.byteLength; ) {
    const length = Math.min(into.byteLength - done, MAX_READ_BYTES);
    const { bytesRead } = await handle.read(into, done, length, at + done);
    if (bytesRead === 0) throw corrupt(path, `the file ends at byte ${at + done}, inside ${what}`);
    done += bytesRead;
  }
}

function corrupt(path: string, what: string, details: Readonly<Record<string, string | number>> = {}): KvaultError {
  return new KvaultError("MODEL_CORRUPT", `Cannot read ${basename(path)}: ${what}`, { details: { path, ...details } });
}
