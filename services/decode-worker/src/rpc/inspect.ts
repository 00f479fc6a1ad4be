/**
 * Workers.Inspect: which pairs a record kept.
 *
 * @module
 */
import type { InspectRequest, KeptPairsSchema, MessageInitShape, ServerCall } from "@kvault/rpc";
import type { Engine, KeptPairs } from "@kvault/runtime";
import { readContent } from "@kvault/worker";

export const inspect =
  (engine: Pick<Engine, "inspectContext">) =>
  async (
    { contextId, digest, model, maxBins, content, contentSha256, layer, kvHead }: InspectRequest,
    { signal }: ServerCall,
  ): Promise<MessageInitShape<typeof KeptPairsSchema>> => {
    const request = {
      ...{ contextId, digest, model, maxBins, contentSha256 },
      ...(content === undefined ? {} : { content: readContent(content, "content", "show the text") }),
      ...(layer === undefined ? {} : { layer }),
      ...(kvHead === undefined ? {} : { kvHead }),
    };
    return keptMessage(await engine.inspectContext(request, { signal }));
  };

function keptMessage(kept: KeptPairs): MessageInitShape<typeof KeptPairsSchema> {
  const { prefixTokens, contextTokens, binTokens, textRows, numLayers, numKvHeads, numBins, kept_LKB } = kept;
  const rows = Array.from({ length: numLayers * numKvHeads }, (_, row) => ({
    layer: Math.floor(row / numKvHeads),
    kvHead: row % numKvHeads,
    keptPerBin: Array.from(kept_LKB.subarray(row * numBins, (row + 1) * numBins)),
  }));
  return { prefixTokens, contextTokens, binTokens, textRows, rows, text: kept.text.map((piece) => ({ ...piece })) };
}
