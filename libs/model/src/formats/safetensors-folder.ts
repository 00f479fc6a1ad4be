/**
 * A published model folder as a weight source: `config.json`, `tokenizer.json` (and beside it
 * `tokenizer_config.json`, `chat_template.jinja`), one `.safetensors` file or several with their
 * index, in f32, f16 or bf16.
 *
 * Everything is translated to GGUF's keys and names when the folder is opened; tensor bytes are
 * read by position when asked for. Rows of queries and keys are in half-split order already.
 *
 * @module
 */
import { type FileHandle, open, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  bytesOf,
  decodeSafetensorsHeader,
  isKvaultError,
  KvaultError,
  type SafetensorsEntry,
  safetensorsHeaderBytes,
} from "@kvault/core";
import { dequantise } from "../dequant/registry.ts";
import { type HuggingFaceTraits, loadFamily } from "../families/family.ts";
import { type GgufEntry, GgufMetadata, type GgufScalar } from "./gguf-metadata.ts";
import { architectureOf, type JsonObject, translateConfig } from "./hugging-face-config.ts";
import { ggufName } from "./hugging-face-names.ts";
import { tokenizerMetadata } from "./hugging-face-tokenizer.ts";
import { rowBytes, type WeightSource, type WeightTensor } from "./weight-source.ts";

/** The largest published tokenizer.json has 33 MB. */
const MAX_JSON_BYTES = 256 * 1024 * 1024;
const MAX_SHARDS = 1000;
/** Linux moves at most 2 GiB − 4 KiB per read. */
const MAX_READ_BYTES = 1024 * 1024 * 1024;
const INDEX_FILE = "model.safetensors.index.json";
const FLOATS: ReadonlySet<string> = new Set(["F32", "F16", "BF16"]);

interface FolderTensor extends WeightTensor {
  readonly read: (start: number, length: number) => Promise<Uint8Array>;
}

/** Files of a folder that decide what its model computes, sorted; the tokenizer's are not among them. */
export async function weightFilesOf(path: string): Promise<string[]> {
  return ["config.json", ...(await shardFiles(path))].sort();
}

/** Opens a folder. MODEL_UNAVAILABLE when a file is missing, MODEL_CORRUPT or MODEL_UNSUPPORTED when one cannot be used. */
export async function openSafetensorsFolder(path: string): Promise<WeightSource> {
  const json = await readJson(join(path, "config.json"));
  const architecture = architectureOf(json);
  const traits = (await loadFamily(architecture)).huggingFace ?? {};
  const { metadata, ropeFactors, tied } = translateConfig(json, architecture, traits);
  const handles: FileHandle[] = [];
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closed ??= Promise.all(handles.map((handle) => handle.close())).then(() => undefined);
    return closed;
  };
  try {
    const tensors = new Map<string, FolderTensor>();
    let fileBytes = 0;
    for (const file of await shardFiles(path)) {
      const handle = await openFile(join(path, file));
      handles.push(handle);
      const shardBytes = (await handle.stat()).size;
      fileBytes += shardBytes;
      for (const [name, entry] of await readDirectory(handle, shardBytes, file)) {
        const ours = ggufName(name, traits);
        if (ours === undefined || (tied && ours === "output.weight")) continue;
        if (tensors.has(ours)) throw corrupt(path, `tensor "${ours}" is there twice`);
        tensors.set(ours, tensorOf(handle, entry, name, file, traits));
      }
    }
    if (ropeFactors !== undefined) tensors.set("rope_freqs.weight", inMemory(ropeFactors));
    const values = await allMetadata(path, metadata, tensors);
    return {
      path,
      fileBytes,
      metadata: new GgufMetadata(values, path),
      tensors,
      interleavedRows: false,
      readTensor(name, rows) {
        const tensor = tensors.get(name);
        if (tensor === undefined) throw corrupt(path, `there is no tensor "${name}" among ${tensors.size}`);
        const { start, length } = rowBytes(tensor, rows);
        return tensor.read(start, length);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function allMetadata(
  path: string,
  sizes: ReadonlyMap<string, GgufScalar>,
  tensors: ReadonlyMap<string, WeightTensor>,
): Promise<Map<string, GgufEntry>> {
  const embedding = tensors.get("token_embd.weight");
  if (embedding === undefined) throw corrupt(path, "there is no embedding");
  const tokenizer = tokenizerMetadata({
    tokenizer: await readJson(join(path, "tokenizer.json")),
    config: await optional(readJson(join(path, "tokenizer_config.json")), {}),
    template: await optional(readText(join(path, "chat_template.jinja")), undefined),
    vocabSize: embedding.shape[1] as number,
  });
  const entries = new Map<string, GgufEntry>();
  for (const [key, value] of [...sizes, ...tokenizer]) {
    entries.set(
      key,
      typeof value === "object"
        ? { kind: "array", length: value.length, decode: () => value }
        : { kind: "scalar", value: value as GgufScalar },
    );
  }
  return entries;
}

/** The shards the index names, or every `.safetensors` file. */
async function shardFiles(path: string): Promise<string[]> {
  const index = await optional(readJson(join(path, INDEX_FILE)), undefined);
  const found =
    index === undefined
      ? (await listFolder(path)).filter((name) => name.endsWith(".safetensors"))
      : [...new Set(Object.values((index["weight_map"] ?? {}) as Record<string, string>))];
  const strange = found.find((name) => typeof name !== "string" || !/^[A-Za-z0-9._-]+$/.test(name));
  if (strange !== undefined) throw corrupt(path, `shard "${strange}" is not a file name`);
  if (found.length === 0 || found.length > MAX_SHARDS)
    throw corrupt(path, `${found.length} .safetensors files, limit ${MAX_SHARDS}`);
  return found.sort();
}

async function readDirectory(
  handle: FileHandle,
  fileBytes: number,
  file: string,
): Promise<ReadonlyMap<string, SafetensorsEntry>> {
  try {
    const start = await readAt(handle, 0, Math.min(8, fileBytes), file);
    const header = await readAt(handle, 0, safetensorsHeaderBytes(start, fileBytes), file);
    return decodeSafetensorsHeader(header, fileBytes).tensors;
  } catch (cause) {
    if (!isKvaultError(cause, "CACHE_CORRUPT")) throw cause;
    throw corrupt(file, cause.message, cause);
  }
}

function tensorOf(
  handle: FileHandle,
  { dtype, shape, start, end }: SafetensorsEntry,
  name: string,
  file: string,
  traits: HuggingFaceTraits,
): FolderTensor {
  if (!FLOATS.has(dtype)) {
    throw new KvaultError("MODEL_UNSUPPORTED", `Cannot use ${file}: tensor "${name}" is ${dtype}, expected F32, F16 or BF16`, {
      details: { tensor: name, dtype },
    });
  }
  const type = dtype.toLowerCase();
  const reversed = [...shape].reverse();
  const read = (from: number, length: number): Promise<Uint8Array> => readAt(handle, start + from, length, file);
  if (traits.normsAreOffsets && shape.length === 1 && name.includes("norm")) {
    const plusOne = async (): Promise<Uint8Array> =>
      bytesOf(dequantise(type, await read(0, end - start)).map((value) => value + 1));
    return { type: "f32", shape: reversed, byteLength: 4 * (shape[0] as number), read: plusOne };
  }
  return { type, shape: reversed, byteLength: end - start, read };
}

function inMemory(values: Float32Array): FolderTensor {
  const bytes = bytesOf(values);
  return {
    type: "f32",
    shape: [values.length],
    byteLength: bytes.byteLength,
    read: async (start, length) => bytes.slice(start, start + length),
  };
}

async function readAt(handle: FileHandle, at: number, length: number, file: string): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(length - done, MAX_READ_BYTES), at + done);
    if (bytesRead === 0) throw corrupt(file, `the file ends at byte ${at + done}`);
    done += bytesRead;
  }
  return bytes;
}

async function readJson(path: string): Promise<JsonObject> {
  const text = await readText(path);
  try {
    return JSON.parse(text) as JsonObject;
  } catch (cause) {
    throw corrupt(path, (cause as Error).message, cause);
  }
}

async function readText(path: string): Promise<string> {
  const { size } = await stat(path).catch((cause: Error) => Promise.reject(unavailable(path, cause)));
  if (size > MAX_JSON_BYTES) throw corrupt(path, `it has ${size} bytes, limit ${MAX_JSON_BYTES}`);
  return readFile(path, "utf8");
}

/** `fallback` where the file is not there. */
async function optional<T, U>(read: Promise<T>, fallback: U): Promise<T | U> {
  return read.catch((error: unknown) => {
    if (isKvaultError(error, "MODEL_UNAVAILABLE") && error.details["missing"] === true) return fallback;
    throw error;
  });
}

function listFolder(path: string): Promise<string[]> {
  return readdir(path).catch((cause: Error) => Promise.reject(unavailable(path, cause)));
}

function openFile(path: string): Promise<FileHandle> {
  return open(path, "r").catch((cause: Error) => Promise.reject(unavailable(path, cause)));
}

function unavailable(path: string, cause: Error): KvaultError {
  const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
  return new KvaultError("MODEL_UNAVAILABLE", `Cannot open ${path}: ${cause.message}`, {
    cause,
    retryable: false,
    details: { path, missing },
  });
}

function corrupt(path: string, what: string, cause?: unknown): KvaultError {
  return new KvaultError("MODEL_CORRUPT", `Cannot read ${path}: ${what}`, {
    details: { path },
    ...(cause === undefined ? {} : { cause }),
  });
}
