/**
 * A selection over the layers that were scored → one over all layers: a windowed layer keeps the
 * latest positions, as many as its window, and none before.
 *
 * @module
 */
import type { Selection } from "@kvault/compression";
import { globalLayers, type ModelConfig, windowOf } from "@kvault/model";

/** `selection`'s layers are the model's global layers, in order. */
export function withWindows(config: ModelConfig, selection: Selection): Selection {
  if (config.slidingWindow === undefined) return selection;
  const { numLayers, numKvHeads } = config;
  const { seqLen, offset_LK, position_n } = selection;
  const scored = new Map(globalLayers(config).map((layer, index) => [layer, index]));
  const rows: Uint32Array[] = [];
  for (let layer = 0; layer < numLayers; layer++) {
    const index = scored.get(layer);
    for (let k = 0; k < numKvHeads; k++) {
      if (index === undefined) {
        const kept = Math.min(seqLen, windowOf(config, layer) as number);
        rows.push(Uint32Array.from({ length: kept }, (_, i) => seqLen - kept + i));
      } else {
        const row = index * numKvHeads + k;
        rows.push(position_n.subarray(offset_LK[row], offset_LK[row + 1]));
      }
    }
  }
  const offsets = new Uint32Array(rows.length + 1);
  for (const [row, { length }] of rows.entries()) offsets[row + 1] = offsets[row] + length;
  const positions = new Uint32Array(offsets[rows.length]);
  for (const [row, kept] of rows.entries()) positions.set(kept, offsets[row]);
  return { ...selection, numLayers, offset_LK: offsets, position_n: positions };
}
