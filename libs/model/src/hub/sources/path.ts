/**
 * A file on this machine, copied (or cloned, where the filesystem can) into the cache.
 *
 * @module
 */
import { constants, copyFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { PathSource } from "../catalogue.ts";
import type { FetchCall } from "./source.ts";

/** `baseDir` is where a relative path starts. */
export async function fetchFromPath(source: PathSource, baseDir: string, call: FetchCall): Promise<void> {
  await copyFile(resolve(baseDir, source.path), call.partPath, constants.COPYFILE_FICLONE);
  call.onProgress(call.pinned.bytes);
}
