/**
 * Where things are: read once from options and `KVAULT_*` variables, passed down by argument.
 *
 * @module
 */
import { availableParallelism, homedir } from "node:os";
import { join, resolve } from "node:path";

/** Where `kvault up` listens, and where the other commands look for it. */
export const DEFAULT_ADDRESS = "127.0.0.1:7717";

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
