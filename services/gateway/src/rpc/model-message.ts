/** A catalogue entry as the API shows it. @module */
import type { CatalogueEntry } from "@kvault/model";
import type { MessageInitShape, ModelSchema } from "@kvault/rpc";

export function modelMessage(entry: CatalogueEntry, present: boolean): MessageInitShape<typeof ModelSchema> {
  const { architecture, numLayers, numQueryHeads, numKvHeads, headDim, maxTokens } = entry.config;
  return {
    name: `models/${entry.name}`,
    weightsSha256: entry.identity.weightsSha256,
    architecture,
    numLayers,
    numQueryHeads,
    numKvHeads,
    headDim,
    maxTokens,
    fileBytes: BigInt(entry.bytes),
    present,
    licence: entry.licence,
  };
}
