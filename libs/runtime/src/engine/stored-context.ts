/**
 * A committed record → a resident context: the manifest is checked against what was asked for
 * and against the model field by field, then the layers are read in parallel, every part
 * verified.
 *
 * @module
 */
import { type DecodedLayer, decodeLayer } from "@kvault/compression";
import { isKvaultError, KvaultError, rowLength } from "@kvault/core";
import { type BlobStore, type ContextManifest, type KeyRing, type PartOpener, readManifest, readPart } from "@kvault/kvstore";
import { type ModelConfig, type ModelIdentity, windowOf } from "@kvault/model";
import type { ResidentContext } from "../model-runner.ts";
import type { LoadedContext, ReadableContext } from "./contexts.ts";
import type { LoadRequest } from "./types.ts";

/** Makes decoded layers, taken in order, resident. */
export type MakeResident = (nextPosition: number, layers: Iterable<DecodedLayer>) => ResidentContext;

/** Layers read at once: enough to keep a disk busy, few enough that hashing does not pile up bytes. */
const PARALLEL_LAYERS = 4;

export interface StoredContextDeps {
  readonly store: BlobStore;
  readonly keys: Pick<KeyRing, "opener">;
  readonly makeResident: MakeResident;
  readonly config: ModelConfig;
  readonly identity: ModelIdentity;
}

/**
 * Finds and checks a record. CONTEXT_NOT_FOUND, CACHE_CORRUPT, INCOMPATIBLE_FORMAT,
 * or INCOMPATIBLE_MODEL with the field that differs. Whether its time is over is the gateway's to say.
 */
export async function findStoredContext(
  deps: StoredContextDeps,
  request: LoadRequest,
  signal: AbortSignal,
): Promise<ReadableContext> {
  const { store, keys, makeResident, config, identity } = deps;
  const { contextId, model } = request;
  const { weightsSha256, tokenizerSha256, templateSha256, rope } = identity;
  const expected = { weightsSha256, tokenizerSha256, templateSha256, rope };
  const find = async (): Promise<ContextManifest> => {
    const manifest = await readManifest(store, contextId, { signal, expected });
    checkManifest(manifest, request, config);
    return manifest;
  };
  const readAs = async (manifest: ContextManifest): Promise<LoadedContext> => {
    const { digest, contextTokens, nextPosition, report } = manifest;
    const open = await keys.opener(manifest, { signal });
    const layers = await readLayers(store, manifest, open, signal);
    const resident = makeResident(nextPosition, layers);
    return { contextId, digest, model, contextTokens, resident, storedBytes: report.storedBytes };
  };
  const manifest = await find();
  return {
    bytes: manifest.report.keptPairs * manifest.model.headDim * 2 * Float32Array.BYTES_PER_ELEMENT,
    read: () =>
      readAs(manifest).catch(async (error: unknown) => {
        // Sealed anew meanwhile: its parts have other names then, and the ones we knew may be gone.
        if (!isKvaultError(error, "CACHE_CORRUPT")) throw error;
        const now = await find();
        if (partsOf(now) === partsOf(manifest)) throw error;
        return readAs(now);
      }),
  };
}

function partsOf({ layers }: ContextManifest): string {
  return layers.flatMap(({ parts }) => parts.map(({ sha256 }) => sha256)).join();
}

function checkManifest(manifest: ContextManifest, request: LoadRequest, config: ModelConfig): void {
  const { contextId } = request;
  const sizes: readonly (readonly [field: string, found: string | number, expected: string | number])[] = [
    ["digest", manifest.digest, request.digest],
    ["numLayers", manifest.model.numLayers, config.numLayers],
    ["numKvHeads", manifest.model.numKvHeads, config.numKvHeads],
    ["headDim", manifest.model.headDim, config.headDim],
    ...manifest.layers.map(
      ({ windowTokens = 0 }, layer) => [`layers.${layer}.windowTokens`, windowTokens, windowOf(config, layer) ?? 0] as const,
    ),
  ];
  for (const [field, found, expected] of sizes) {
    if (found === expected) continue;
    throw new KvaultError(
      "INCOMPATIBLE_MODEL",
      `Cannot use context "${contextId}": ${field} is "${found}", expected "${expected}"`,
      { details: { contextId, field, expected, found } },
    );
  }
}

/** All layers, in order; handed over one by one so that each can be freed once it is resident. */
async function readLayers(
  store: BlobStore,
  manifest: ContextManifest,
  open: PartOpener,
  signal: AbortSignal,
): Promise<Iterable<DecodedLayer>> {
  const layers = new Array<DecodedLayer | undefined>(manifest.layers.length);
  const failed = new AbortController();
  const either = AbortSignal.any([signal, failed.signal]);
  let next = 0;
  const reader = async (): Promise<void> => {
    while (next < layers.length) {
      const layer = next++;
      layers[layer] = await readLayer(store, manifest, open, layer, either);
    }
  };
  try {
    await Promise.all(Array.from({ length: PARALLEL_LAYERS }, reader));
  } catch (error) {
    failed.abort(error);
    throw error;
  }
  return takeInOrder(layers);
}

function* takeInOrder(layers: (DecodedLayer | undefined)[]): Generator<DecodedLayer> {
  for (let layer = 0; layer < layers.length; layer++) {
    const ragged = layers[layer] as DecodedLayer;
    layers[layer] = undefined;
    yield ragged;
  }
}

/** One layer, verified against its hashes and its manifest. */
export async function readLayer(
  store: BlobStore,
  manifest: ContextManifest,
  open: PartOpener,
  layer: number,
  signal: AbortSignal,
): Promise<DecodedLayer> {
  const { contextId, codec, model, nextPosition } = manifest;
  const { parts, headLengths } = manifest.layers[layer];
  const bytes = await Promise.all(
    parts.map(async (ref, part) => open(await readPart(store, contextId, ref, { signal }), { contextId, layer, part })),
  );
  const ragged = decodeLayer(codec, bytes, { numKvHeads: model.numKvHeads, headDim: model.headDim, seqLen: nextPosition });
  for (const [kvHead, expected] of headLengths.entries()) {
    const found = rowLength(ragged, kvHead);
    if (found === expected) continue;
    throw new KvaultError(
      "CACHE_CORRUPT",
      `Cannot read layer ${layer} of context "${contextId}": head ${kvHead} has ${found} pairs, the manifest says ${expected}`,
      { details: { contextId, layer, kvHead, found, expected } },
    );
  }
  return ragged;
}
