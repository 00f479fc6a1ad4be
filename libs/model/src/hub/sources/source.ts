/**
 * What a source does: puts a model file's bytes into one partial file, resuming what is there.
 *
 * A source reports trouble by throwing: the hub then tries the next one. Whether the bytes are the
 * right ones is the hub's to check, for all sources alike.
 *
 * @module
 */
import { type FileHandle, open } from "node:fs/promises";
import type { Pinned } from "../verify.ts";

/** One fetch of one file from one source. */
export interface FetchCall {
  readonly pinned: Pinned;
  /** Where the bytes go. Kept when a fetch fails, so the next one can go on from it. */
  readonly partPath: string;
  readonly signal: AbortSignal | undefined;
  /** Bytes of the file that are on disk now. */
  onProgress(doneBytes: number): void;
}

/** Waits that a source keeps to; tests shorten them. */
export interface FetchTimeouts {
  /** Until a source counts as unreachable. */
  readonly connectMs: number;
  /** Without a byte, before a transfer is tried again. */
  readonly stallMs: number;
  /** Before the first retry; doubles with each failure in a row. */
  readonly retryDelayMs: number;
  /** For one package of a model in parts. */
  readonly packageMs: number;
}

export const DEFAULT_TIMEOUTS: FetchTimeouts = {
  connectMs: 4_000,
  stallMs: 30_000,
  retryDelayMs: 500,
  packageMs: 30 * 60_000,
};

/** Opens a partial file for reading and writing, keeping what is there; made when missing. */
export async function openPart(path: string): Promise<FileHandle> {
  await (await open(path, "a")).close();
  return open(path, "r+");
}

/** Writes all of `bytes` at `position`. */
export async function writeAt(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.byteLength - done, position + done);
    done += bytesWritten;
  }
}

/** True when the disk, not the source, is what failed: another source would fail the same way. */
export function isDiskError(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT", "EIO", "EROFS"].includes((error as NodeJS.ErrnoException).code ?? "");
}
