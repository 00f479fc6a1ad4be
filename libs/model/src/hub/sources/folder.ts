/**
 * A folder of safetensors on this machine, used where it is. Hashing some gigabytes takes seconds,
 * so a passed check leaves a marker in the cache folder, good for as long as every weight file's
 * size and modification time stay what they were.
 *
 * @module
 */
import { mkdir, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { KvaultError } from "@kvault/core";
import { weightsSha256 } from "../../formats/open-weights.ts";
import { weightFilesOf } from "../../formats/safetensors-folder.ts";
import type { CatalogueEntry, FolderSource } from "../catalogue.ts";
import { writeMarker } from "../verify.ts";

/** The folder that an entry names instead of a file to fetch. */
export function folderSource({ sources }: CatalogueEntry): FolderSource | undefined {
  return sources.find((source) => source.type === "folder");
}

/** Where the folder is. */
export function folderPath(source: FolderSource, baseDir: string): string {
  return resolve(baseDir, source.path);
}

/** Bytes of the folder's shards; undefined when it cannot be read. */
export async function folderBytes(path: string): Promise<number | undefined> {
  try {
    const shards = (await weightFilesOf(path)).filter((file) => file.endsWith(".safetensors"));
    const sizes = await Promise.all(shards.map(async (file) => (await stat(join(path, file))).size));
    return sizes.reduce((sum, size) => sum + size, 0);
  } catch {
    return undefined;
  }
}

/** Throws MODEL_UNAVAILABLE when it is not there, MODEL_CORRUPT when it is another model's. */
export async function verifyFolder(
  entry: CatalogueEntry,
  path: string,
  cacheDir: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const stamp = await stampOf(entry, path);
  const marker = join(cacheDir, `${entry.fileName}.verified`);
  const known = await readFile(marker, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  if (known === stamp) return;
  const found = await weightsSha256(path, signal);
  if (found !== entry.sha256) {
    throw new KvaultError(
      "MODEL_CORRUPT",
      `Cannot use model "${entry.name}": ${path} has sha256 ${found}, expected ${entry.sha256}`,
      {
        details: { model: entry.name, path },
      },
    );
  }
  await mkdir(cacheDir, { recursive: true });
  await writeMarker(marker, stamp);
}

async function stampOf({ sha256, name }: CatalogueEntry, path: string): Promise<string> {
  const lines = [sha256];
  for (const file of await weightFilesOf(path)) {
    const { size, mtimeMs } = await stat(join(path, file)).catch((cause: Error) => {
      throw new KvaultError("MODEL_UNAVAILABLE", `Cannot use model "${name}": ${cause.message}`, {
        cause,
        retryable: false,
        details: { model: name, path },
      });
    });
    lines.push(`${file} ${size} ${mtimeMs}`);
  }
  return `${lines.join("\n")}\n`;
}
