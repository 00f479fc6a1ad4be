/**
 * The catalogue's models, for commands: listed with what is here, fetched with a progress bar.
 *
 * @module
 */
import type { Progress } from "./terminal/progress.ts";

export interface KnownModel {
  readonly name: string;
  readonly architecture: string;
  readonly bytes: number;
  readonly maxTokens: number;
  readonly sha256: string;
  readonly licence: string;
  /** The file is in the cache folder. */
  readonly present: boolean;
}

/** Every model of the catalogue, in its order. */
export async function knownModels(cacheDir: string): Promise<KnownModel[]> {
  const { openHub } = await import("@kvault/model");
  const hub = await openHub({ cacheDir, offline: true });
  return Promise.all(
    hub.list().map(async ({ name, config, bytes, sha256, licence }) => ({
      name,
      architecture: config.architecture,
      bytes,
      maxTokens: config.maxTokens,
      sha256,
      licence,
      present: await hub.isPresent(name),
    })),
  );
}

export interface FetchModelOptions {
  readonly cacheDir: string;
  readonly offline: boolean;
  readonly progress: Progress;
  readonly signal: AbortSignal;
}

/** Path of the verified weight file, downloaded when it is not here. Errors are the hub's. */
export async function fetchModel(name: string, { cacheDir, offline, progress, signal }: FetchModelOptions): Promise<string> {
  const { openHub } = await import("@kvault/model");
  const hub = await openHub({ cacheDir, offline });
  try {
    return await hub.fetchModel(name, {
      signal,
      onProgress: ({ doneBytes, totalBytes, source }) =>
        progress.update({
          label: source === "another process" ? "waiting" : "download",
          done: doneBytes,
          total: totalBytes,
          unit: "bytes",
        }),
    });
  } finally {
    progress.close();
  }
}
