/**
 * The model hub: a name in the catalogue → a verified file on this disk.
 *
 * A file may also be put into the cache folder by hand: it is verified like any other. Weights
 * that are elsewhere on this machine are known through the cache folder's own `catalogue.json`
 * (pin-entry.ts).
 *
 * In the cache folder: `F` the file, `F.verified` the marker of a passed check, `F.lock`,
 * `F.<source>.part` (and beside it a source's own notes) what has arrived so far.
 *
 * @module
 */
import { dirname, join, resolve } from "node:path";
import { KvaultError } from "@kvault/core";
import { closest, distance } from "fastest-levenshtein";
import { type CatalogueEntry, readCatalogue } from "./catalogue.ts";
import { type FetchOptions, fetchEntry, type HubSettings, sizeOf } from "./fetch-entry.ts";
import { entriesOf, localCatalogue } from "./pin-entry.ts";
import { folderBytes, folderPath, folderSource } from "./sources/folder.ts";
import { DEFAULT_TIMEOUTS, type FetchTimeouts } from "./sources/source.ts";

const DEFAULT_ENDPOINT = "https://huggingface.co";

export interface HubOptions {
  /** Where model files are kept; made when missing. */
  readonly cacheDir: string;
  /** Never touch the network; files already here and `path` sources still serve. @default false */
  readonly offline?: boolean;
  /** Another catalogue than the one that comes with the package. */
  readonly catalogueFile?: string;
  /** @default `HF_ENDPOINT`, or the hub's public address */
  readonly huggingFaceEndpoint?: string;
  readonly timeouts?: Partial<FetchTimeouts>;
}

export interface ModelHub {
  list(): readonly CatalogueEntry[];
  /** MODEL_NOT_FOUND, with the nearest name, when there is none. */
  describe(name: string): CatalogueEntry;
  /** Where the model's file is, or would be; its folder where it is one. */
  pathOf(name: string): string;
  /** True when a file of the right size is there; its content is checked by {@link ModelHub.fetchModel}. */
  isPresent(name: string): Promise<boolean>;
  /**
   * The path of the verified file, fetched when needed. MODEL_UNAVAILABLE when offline or no source
   * has it, MODEL_CORRUPT when only wrong bytes can be had, STORE_FULL when the disk has no room.
   */
  fetchModel(name: string, options?: FetchOptions): Promise<string>;
}

/** Reads the catalogue and returns the hub; nothing is fetched yet. */
export async function openHub(options: HubOptions): Promise<ModelHub> {
  const cacheDir = resolve(options.cacheDir);
  const local = options.catalogueFile === undefined ? await entriesOf(localCatalogue(cacheDir)) : [];
  const given = await readCatalogue(options.catalogueFile);
  // the built-in entries win: a name means the same everywhere
  const byName = new Map([...local, ...given].map((entry) => [entry.name, entry]));
  const entries = [...given, ...local.filter((entry) => byName.get(entry.name) === entry)];
  const settings: HubSettings = {
    cacheDir,
    offline: options.offline ?? false,
    // biome-ignore lint/style/noProcessEnv: HF_ENDPOINT is the ecosystem's setting, not one of ours
    endpoint: options.huggingFaceEndpoint ?? (process.env["HF_ENDPOINT"] || DEFAULT_ENDPOINT),
    catalogueDir: options.catalogueFile === undefined ? cacheDir : dirname(resolve(options.catalogueFile)),
    timeouts: { ...DEFAULT_TIMEOUTS, ...options.timeouts },
  };
  const describe = (name: string): CatalogueEntry => {
    const entry = byName.get(name);
    if (entry === undefined) throw notFound(name, [...byName.keys()]);
    return entry;
  };
  const pathOf = (name: string): string => {
    const entry = describe(name);
    const folder = folderSource(entry);
    return folder === undefined ? join(cacheDir, entry.fileName) : folderPath(folder, settings.catalogueDir);
  };
  return {
    list: () => entries,
    describe,
    pathOf,
    async isPresent(name) {
      const isFolder = folderSource(describe(name)) !== undefined;
      const size = await (isFolder ? folderBytes(pathOf(name)) : sizeOf(pathOf(name)));
      return size === describe(name).bytes;
    },
    fetchModel: async (name, fetchOptions = {}) => fetchEntry(describe(name), settings, fetchOptions),
  };
}

function notFound(name: string, known: readonly string[]): KvaultError {
  const nearest = known.length === 0 ? "" : closest(name, [...known]);
  const isSlip = nearest !== "" && distance(name, nearest) <= Math.ceil(nearest.length / 3);
  const hint = isSlip ? `; did you mean "${nearest}"?` : "";
  return new KvaultError("MODEL_NOT_FOUND", `Cannot find model "${name}" in the catalogue (${known.join(", ")})${hint}`, {
    details: { model: name, ...(isSlip ? { nearest } : {}) },
  });
}
