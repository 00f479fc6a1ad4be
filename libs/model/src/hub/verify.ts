/**
 * Is this file the one that was pinned? Hashing half a gigabyte takes a second or more, so a
 * passed check leaves a marker beside the file, good for as long as the file's size and
 * modification time stay what they were.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, rename, stat, writeFile } from "node:fs/promises";
import { pipeline } from "node:stream/promises";

const READ_BYTES = 1024 * 1024;

/** What a file must be. */
export interface Pinned {
  readonly sha256: string;
  readonly bytes: number;
}

/** `absent`: no such file. `verified`: size and hash are right. `wrong`: `found` says what is not. */
export type FileState =
  | { readonly state: "absent" }
  | { readonly state: "verified" }
  | { readonly state: "wrong"; readonly found: string };

/** Checks `path` against `pinned`, by its marker when that still holds, else by hashing. */
export async function checkFile(path: string, pinned: Pinned, signal?: AbortSignal): Promise<FileState> {
  const found = await stat(path).catch(nothingIfMissing);
  if (found === undefined) return { state: "absent" };
  if (found.size !== pinned.bytes) return { state: "wrong", found: `${found.size} bytes, expected ${pinned.bytes}` };
  const marker = await readFile(`${path}.verified`, "utf8").catch(nothingIfMissing);
  if (marker === stampOf(pinned, found)) return { state: "verified" };
  const digest = await sha256OfFile(path, signal);
  if (digest !== pinned.sha256) return { state: "wrong", found: `sha256 ${digest}, expected ${pinned.sha256}` };
  await markVerified(path, pinned);
  return { state: "verified" };
}

/** Hex SHA-256 of a file's content, streamed. */
export async function sha256OfFile(path: string, signal?: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path, { highWaterMark: READ_BYTES }), hash, signal === undefined ? {} : { signal });
  return hash.digest("hex");
}

/** Notes that `path`, as it is now, has passed the check. */
export async function markVerified(path: string, pinned: Pinned): Promise<void> {
  await writeMarker(`${path}.verified`, stampOf(pinned, await stat(path)));
}

/** Writes a marker whole. In a read-only folder nothing is noted, and each start hashes again. */
export async function writeMarker(path: string, stamp: string): Promise<void> {
  const temporary = `${path}.${process.pid}`;
  try {
    await writeFile(temporary, stamp);
    await rename(temporary, path);
  } catch (error) {
    if (!["EROFS", "EACCES", "EPERM", "ENOSPC"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  }
}

function stampOf({ sha256 }: Pinned, { size, mtimeMs }: { readonly size: number; readonly mtimeMs: number }): string {
  return `${sha256} ${size} ${mtimeMs}\n`;
}

function nothingIfMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
