/**
 * A catalogue entry from weights on this disk: sizes, digests and identity are computed, and the
 * entry is written into a catalogue file. The cache folder's own catalogue is read beside the
 * built-in one, so what is added there is known to every process that uses the folder.
 *
 * @module
 */
import { randomBytes } from "node:crypto";
import { mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { invalidArgument } from "@kvault/core";
import { readModelConfig } from "../config.ts";
import { openWeights, weightsSha256 } from "../formats/open-weights.ts";
import { identityOf } from "../tokenizer/load-tokenizer.ts";
import { type CatalogueEntry, type ModelSource, parseCatalogue, readCatalogue } from "./catalogue.ts";

/** What a person says of a model; the rest is computed. */
export interface ModelToPin {
  readonly name: string;
  readonly fileName: string;
  readonly licence: string;
  readonly sources: readonly ModelSource[];
}

/** The whole entry of the weights at `path`, a GGUF file or a folder of safetensors. Errors are the formats'. */
export async function pinEntry({ name, fileName, licence, sources }: ModelToPin, path: string): Promise<CatalogueEntry> {
  const sha256 = await weightsSha256(path);
  const source = await openWeights(path);
  try {
    const config = await readModelConfig(source);
    const identity = identityOf(source, config, sha256);
    return { name, fileName, sha256, bytes: source.fileBytes, licence, config, identity, sources };
  } finally {
    await source.close();
  }
}

/** The cache folder's own catalogue. */
export function localCatalogue(cacheDir: string): string {
  return join(resolve(cacheDir), "catalogue.json");
}

export interface LocalModel {
  readonly name: string;
  /** GGUF file or folder of safetensors. */
  readonly path: string;
  readonly licence: string;
}

/** Adds weights on this machine to the cache folder's catalogue, in place of an entry of that name. INVALID_ARGUMENT for a name of the built-in one. */
export async function addLocalModel(cacheDir: string, { name, path, licence }: LocalModel): Promise<CatalogueEntry> {
  if ((await readCatalogue()).some((entry) => entry.name === name)) {
    throw invalidArgument("name", `Cannot add model "${name}": the catalogue has one of that name`);
  }
  const absolute = resolve(path);
  const type = (await openableKind(absolute)) === "folder" ? "folder" : "path";
  const fileName = type === "folder" ? name : `${name}-${basename(absolute)}`;
  const entry = await pinEntry({ name, fileName, licence, sources: [{ type, path: absolute }] }, absolute);
  const file = localCatalogue(cacheDir);
  const others = (await entriesOf(file)).filter((each) => each.name !== name);
  const text = `${JSON.stringify({ schemaVersion: 1, models: [...others, entry] }, undefined, 2)}\n`;
  parseCatalogue(text, file);
  await mkdir(dirname(file), { recursive: true });
  const temporary = `${file}.${process.pid}-${randomBytes(4).toString("hex")}`;
  await writeFile(temporary, text);
  await rename(temporary, file);
  return entry;
}

/** Entries of a catalogue that may not be there. */
export async function entriesOf(file: string): Promise<readonly CatalogueEntry[]> {
  const text = await readFile(file, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code !== "ENOENT") throw error;
  });
  return text === undefined ? [] : parseCatalogue(text, file);
}

async function openableKind(path: string): Promise<"folder" | "file"> {
  const info = await stat(path).catch((cause: Error) => {
    throw invalidArgument("path", `Cannot add model: ${cause.message}`, { path });
  });
  return info.isDirectory() ? "folder" : "file";
}
