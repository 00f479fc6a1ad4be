/**
 * Where things are: read once from options and `KVAULT_*` variables, passed down by argument.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { availableParallelism, homedir } from "node:os";
import { join, resolve } from "node:path";
import { invalidArgument } from "@kvault/core";

/** Where `kvault up` listens, and where the other commands look for it. */
export const DEFAULT_ADDRESS = "127.0.0.1:7717";

/** Largest text that is read into a request; longer ones go through UploadContext. */
const MAX_TEXT_BYTES: number = 4 * 1024 * 1024;

export type Environment = Readonly<Record<string, string | undefined>>;

/** Folder of records: KVAULT_DATA_DIR, or `kvault` under the user's data folder. */
export function defaultDataDir(env: Environment): string {
  const base = env["XDG_DATA_HOME"] ?? join(homedir(), ".local", "share");
  return resolve(env["KVAULT_DATA_DIR"] ?? join(base, "kvault"));
}

/** Folder of model files and graphs: KVAULT_CACHE_DIR, or `kvault` under the user's cache folder. */
export function defaultCacheDir(env: Environment): string {
  const base = env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  return resolve(env["KVAULT_CACHE_DIR"] ?? join(base, "kvault"));
}

/** Threads of an engine when nobody says: more than eight rarely help a model of this size. */
export function defaultThreads(): number {
  return Math.min(8, availableParallelism());
}

/** Store URL of the records under a data folder. */
export function storeUrlOf(dataDir: string): string {
  return `file:${join(dataDir, "store")}`;
}

/** A whole text file; INVALID_ARGUMENT when it is missing, empty, not UTF-8 or over {@link MAX_TEXT_BYTES}. */
export function readTextFile(path: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path === "-" ? 0 : path);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : "unreadable";
    throw invalidArgument("file", `Cannot read "${path}": ${reason}`);
  }
  if (bytes.byteLength > MAX_TEXT_BYTES) {
    throw invalidArgument("file", `Cannot read "${path}": ${bytes.byteLength} bytes, at most ${MAX_TEXT_BYTES}`);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw invalidArgument("file", `Cannot read "${path}": not UTF-8 text`);
  }
  if (text.trim() === "") throw invalidArgument("file", `Cannot make a context of "${path}": it is empty`);
  return text;
}
