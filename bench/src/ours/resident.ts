/**
 * A stored record in memory, as the step reads it.
 *
 * @module
 */
import { decodeLayer } from "@kvault/compression";
import type { RaggedLayerKv } from "@kvault/core";
import { type BlobStore, readManifest, readPart } from "@kvault/kvstore";
import { type ResidentContext, residentContext } from "@kvault/runtime";

export async function readResident(store: BlobStore, id: string): Promise<ResidentContext> {
  const { contextId, codec, layers, model, nextPosition } = await readManifest(store, id);
  const { numKvHeads, headDim } = model;
  const decoded: RaggedLayerKv[] = [];
  for (const { parts } of layers) {
    const bytes = await Promise.all(parts.map((part) => readPart(store, contextId, part)));
    decoded.push(decodeLayer(codec, bytes, { numKvHeads, headDim, seqLen: nextPosition }));
  }
  return residentContext(nextPosition, decoded);
}
