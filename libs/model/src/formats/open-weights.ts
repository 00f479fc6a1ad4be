/**
 * Opens a weight source by what is at a path, and names its content.
 *
 * @module
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { digestFields, KvaultError } from "@kvault/core";
import { sha256OfFile } from "../hub/verify.ts";
import { openGguf } from "./gguf.ts";
import { openSafetensorsFolder, weightFilesOf } from "./safetensors-folder.ts";
import type { WeightSource } from "./weight-source.ts";

/** A folder is safetensors, a file GGUF. Errors as {@link openGguf} and {@link openSafetensorsFolder}. */
export async function openWeights(path: string): Promise<WeightSource> {
  return (await isFolder(path)) ? openSafetensorsFolder(path) : openGguf(path);
}

/** SHA-256 of a file; of a folder, over the names and digests of its weight files in order of name. */
export async function weightsSha256(path: string, signal?: AbortSignal): Promise<string> {
  if (!(await isFolder(path))) return sha256OfFile(path, signal);
  const fields: [string, string][] = [];
  for (const file of await weightFilesOf(path)) fields.push([file, await sha256OfFile(join(path, file), signal)]);
  return digestFields("kvault.weights.v1", fields);
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (cause) {
    throw new KvaultError("MODEL_UNAVAILABLE", `Cannot open ${path}: ${(cause as Error).message}`, {
      cause,
      retryable: false,
      details: { path },
    });
  }
}
