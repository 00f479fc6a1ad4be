/**
 * A store in a directory: keys are paths below it, values plain files.
 *
 * A value is written to `.tmp/` of the same directory, synced, and only then given its name:
 * by `rename` (replace) or `link` (if absent; exactly one of many linkers wins, also across
 * processes). So `kill -9` or a power cut at any line leaves the old value, the new one or
 * none, and at worst a stray temporary file, which nobody lists and the next opening sweeps
 * when it is old. Needs a file system with hard links (not exFAT).
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import fs from "node:fs/promises";
import path from "node:path";
import { KvaultError, throwIfAborted } from "@kvault/core";
import type { BlobStat, BlobStore, CallOptions, PutOptions, StoreAbilities } from "../blob-store.ts";
import { isKeyFolder, isKeyName, MAX_VALUE_BYTES } from "../blob-store.ts";
import { checkedStore } from "../checked-store.ts";
import { errnoOf, storeError } from "./store-errors.ts";

export interface FilesystemStoreOptions {
  /** Sync each value and its directory entry to the device before `put` resolves. Default true. */
  readonly fsync?: boolean;
  /** Temporary files untouched for longer are swept when the store is opened. Default one hour. */
  readonly staleTmpMs?: number;
}

/** Folders have no dot in keys, so no key lies below this and none of it is listed. */
const TMP_FOLDER = ".tmp";
const DEFAULT_STALE_TMP_MS = 3_600_000;
/** A deleter may prune the folder before our value is in it; each try makes it again. */
const MAX_NAMING_TRIES = 16;
/** What mkdir, link and rename say of a folder that went away under them; mkdir may mistake it for a file. */
const PRUNED_ERRNOS: ReadonlySet<string | undefined> = new Set(["ENOENT", "ENOTDIR", "EEXIST"]);

/** Opens `directory`, making it when needed; STORE_FORBIDDEN, STORE_FULL or STORE_UNAVAILABLE when it cannot be. */
export async function openFilesystemStore(directory: string, options: FilesystemStoreOptions = {}): Promise<BlobStore> {
  const root = path.resolve(directory);
  try {
    await fs.mkdir(path.join(root, TMP_FOLDER), { recursive: true });
    await sweepTmp(path.join(root, TMP_FOLDER), Date.now() - (options.staleTmpMs ?? DEFAULT_STALE_TMP_MS));
  } catch (error) {
    throw storeError(error, "open store", root);
  }
  return checkedStore(new FilesystemStore(root, options.fsync ?? true));
}

class FilesystemStore implements BlobStore {
  readonly abilities: StoreAbilities = { durable: true, shared: true };
  readonly #root: string;
  readonly #fsync: boolean;

  constructor(root: string, fsync: boolean) {
    this.#root = root;
    this.#fsync = fsync;
  }

  async put(key: string, bytes: Uint8Array, options: PutOptions = {}): Promise<void> {
    const tmp = path.join(this.#root, TMP_FOLDER, `${process.pid}-${randomUUID()}`);
    try {
      // Saves writing a value that cannot win; the link below decides.
      if (options.ifAbsent === true && (await this.stat(key)) !== undefined) throw taken(key);
      try {
        await this.#writeTmp(tmp, bytes, options.signal);
        throwIfAborted(options.signal);
        await this.#giveName(tmp, key, options.ifAbsent === true);
      } finally {
        await fs.rm(tmp, { force: true }).catch(() => undefined); // swept later
      }
    } catch (error) {
      const typed = storeError(error, "put", key, options.signal);
      if (typed.code !== "STORE_NOT_FOUND") throw typed;
      // A put misses no key: the store's own directory is gone.
      throw new KvaultError("STORE_UNAVAILABLE", `Cannot put "${key}": "${this.#root}" is gone`, {
        details: { key },
        cause: error,
      });
    }
  }

  async get(key: string, options: CallOptions = {}): Promise<Uint8Array> {
    try {
      const handle = await fs.open(this.#pathOf(key), "r");
      try {
        const { size } = await handle.stat();
        if (size > MAX_VALUE_BYTES) throw new RangeError(`${size} bytes, limit ${MAX_VALUE_BYTES}`);
        const bytes = new Uint8Array(Buffer.allocUnsafeSlow(size).buffer);
        for (let done = 0; done < size; ) {
          throwIfAborted(options.signal);
          const { bytesRead } = await handle.read(bytes, done, size - done, done);
          if (bytesRead === 0) throw new RangeError(`file ends at ${done} of ${size} bytes`);
          done += bytesRead;
        }
        return bytes;
      } finally {
        await handle.close();
      }
    } catch (error) {
      throw storeError(error, "get", key, options.signal);
    }
  }

  async stat(key: string): Promise<BlobStat | undefined> {
    try {
      const { size, mtimeMs } = await fs.stat(this.#pathOf(key));
      return { bytes: size, modifiedMs: mtimeMs };
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw storeError(error, "stat", key);
    }
  }

  async delete(key: string): Promise<void> {
    const target = this.#pathOf(key);
    try {
      await fs.unlink(target);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return;
      throw storeError(error, "delete", key);
    }
    await this.#prune(path.dirname(target));
  }

  async *list(prefix: string): AsyncGenerator<string> {
    yield* this.#walk(prefix, prefix);
  }

  async close(): Promise<void> {
    // Every call closes what it opened.
  }

  #pathOf(key: string): string {
    return path.join(this.#root, ...key.split("/"));
  }

  async #writeTmp(tmp: string, bytes: Uint8Array, signal: AbortSignal | undefined): Promise<void> {
    const handle = await fs.open(tmp, "wx");
    try {
      await handle.writeFile(bytes, signal === undefined ? {} : { signal });
      if (this.#fsync) await handle.sync();
    } finally {
      await handle.close();
    }
  }

  async #giveName(tmp: string, key: string, ifAbsent: boolean): Promise<void> {
    const target = this.#pathOf(key);
    const folder = path.dirname(target);
    for (let tries = 1; ; tries++) {
      let firstMade: string | undefined;
      try {
        firstMade = await fs.mkdir(folder, { recursive: true });
        if (ifAbsent) await linkNew(tmp, target, key);
        else await fs.rename(tmp, target);
      } catch (error) {
        if (!PRUNED_ERRNOS.has(errnoOf(error)) || tries === MAX_NAMING_TRIES) throw error;
        continue;
      }
      if (this.#fsync) await syncFolders(folder, firstMade === undefined ? folder : path.dirname(firstMade));
      return;
    }
  }

  /** Removes empty folders from `folder` up to the root. */
  async #prune(folder: string): Promise<void> {
    for (let empty = folder; empty !== this.#root; empty = path.dirname(empty)) {
      try {
        await fs.rmdir(empty);
      } catch {
        return; // not empty, or gone
      }
    }
  }

  /**
   * Keys below `folder` ("" or "a/b/"); as `x/` a folder sorts where its keys do. What others
   * left in the directory (lost+found, .DS_Store) has no key's name and is not listed.
   */
  async *#walk(folder: string, prefix: string): AsyncGenerator<string> {
    let names: string[];
    try {
      const entries = await fs.readdir(path.join(this.#root, folder), { withFileTypes: true });
      names = entries
        .filter((entry) => (entry.isDirectory() ? isKeyFolder(entry.name) : entry.isFile() && isKeyName(entry.name)))
        .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
        .sort();
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return;
      throw storeError(error, "list", prefix);
    }
    for (const name of names) {
      if (name.endsWith("/")) yield* this.#walk(folder + name, prefix);
      else yield folder + name;
    }
  }
}

function taken(key: string): KvaultError {
  return new KvaultError("STORE_EXISTS", `Cannot put "${key}": the key is taken`, { details: { key } });
}

/** `link`, which fails when `target` is there; over NFS a lost reply makes a success look like a failure, so the links are counted. */
async function linkNew(tmp: string, target: string, key: string): Promise<void> {
  try {
    await fs.link(tmp, target);
  } catch (error) {
    if (errnoOf(error) !== "EEXIST") throw error;
    if ((await fs.stat(tmp)).nlink < 2) throw taken(key);
  }
}

/** Syncs the entries of `folder` and of its parents up to `top`, which holds the first new folder. */
async function syncFolders(folder: string, top: string): Promise<void> {
  for (let at = folder; ; at = path.dirname(at)) {
    const handle = await fs.open(at, "r").catch((error: unknown) => {
      if (errnoOf(error) === "ENOENT") return undefined; // value and folder were deleted already
      throw error;
    });
    if (handle === undefined) return;
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (at === top) return;
  }
}

async function sweepTmp(folder: string, olderThanMs: number): Promise<void> {
  for (const name of await fs.readdir(folder)) {
    const file = path.join(folder, name);
    // Another opener may sweep at the same time: what is gone is gone.
    const stat = await fs.stat(file).catch(() => undefined);
    if (stat !== undefined && stat.mtimeMs < olderThanMs) await fs.rm(file, { force: true });
  }
}
