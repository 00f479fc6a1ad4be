/**
 * KVSharer: some layers read another, unlike layer's pairs and store nothing.
 *
 * Paper: arXiv:2410.18517. Which layer reads which is searched once per model (`kvault
 * calibrate`, profile `layer-map`): never a later one, never one that reads another itself. The
 * same count for every layer and head, so that a layer and the ones that read it have equal
 * rows; a shared layer's own scores count for nothing. Its parts are those of its source, by
 * name, so a store holds them once; records sealed with a tenant's key bind a part to its
 * layer and hold it for each.
 *
 * In the paper shared layers also skip computing their keys and values; here they are computed
 * while the text is read, since prefill reads its own pairs.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { z } from "zod";
import type { AllocatorFactory } from "../types.ts";
import { profileOf } from "./head-shares.ts";
import { uniform } from "./uniform.ts";

export const kvsharer: AllocatorFactory = {
  name: "kvsharer",
  summary: "the same count for every layer and head; some layers read another's pairs",
  source: "arXiv:2410.18517",
  params: z.strictObject({}),
  create: () => {
    const { allocate } = uniform.create({});
    return {
      profile: "layer-map",
      levelsHeads: true,
      sourceLayers: ({ numLayers, profile }) => layerMapOf(profile?.["layer-map"], numLayers),
      allocate: (scores, protectedTokens, total) => {
        layerMapOf(scores.profile?.["layer-map"], scores.numLayers);
        return allocate(scores, protectedTokens, total);
      },
    };
  },
};

/** The map of a profile. MODEL_CORRUPT unless every layer reads itself or an earlier one that reads itself. */
function layerMapOf(profile: Float32Array | undefined, numLayers: number): Uint32Array {
  const map_L = profileOf(profile, "layer-map", numLayers);
  for (let l = 0; l < numLayers; l++) {
    const source = map_L[l];
    if (source >= 0 && source <= l && map_L[source] === source) continue;
    throw new KvaultError(
      "MODEL_CORRUPT",
      `Cannot share layers: layer ${l} reads layer ${source}, which is no layer that reads itself`,
      {
        details: { layer: l, found: source },
      },
    );
  }
  return Uint32Array.from(map_L);
}
