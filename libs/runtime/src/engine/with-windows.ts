/**
 * A selection over the layers that were scored → one over all layers: a windowed layer keeps the
 * latest positions, as many as its window, and none before.
 *
 * @module
 */
import type { Selection } from "@kvault/compression";
import { globalLayers, type ModelConfig, windowOf } from "@kvault/model";

/** `selection`'s layers are the model's global layers, in order. Pairs of windowed layers score above all others. */
export function withWindows(config: ModelConfig, selection: Selection): Selection {
  if (config.slidingWindow === undefined) return selection;
  const { numLayers, numKvHeads } = config;
  const { seqLen, offset_LK, position_n, score_n, source_L } = selection;
  const globals = globalLayers(config);
  const scored = new Map(globals.map((layer, index) => [layer, index]));
  const highest = (score_n ?? new Float32Array(0)).reduce((most, score) => Math.max(most, score), 0) + 1;
  const positions: number[] = [];
  const scores: number[] = [];
  const offsets = [0];
  for (let layer = 0; layer < numLayers; layer++) {
    const index = scored.get(layer);
    for (let k = 0; k < numKvHeads; k++) {
      if (index === undefined) {
        const kept = Math.min(seqLen, windowOf(config, layer) as number);
        for (let position = seqLen - kept; position < seqLen; position++) {
          positions.push(position);
          scores.push(highest);
        }
      } else {
        const row = index * numKvHeads + k;
        for (let n = offset_LK[row]; n < offset_LK[row + 1]; n++) {
          positions.push(position_n[n]);
          scores.push(score_n?.[n] ?? 0);
        }
      }
      offsets.push(positions.length);
    }
  }
  const sources = Uint32Array.from({ length: numLayers }, (_, layer) => {
    const index = scored.get(layer);
    return index === undefined ? layer : globals[source_L?.[index] ?? index];
  });
  return {
    ...selection,
    ...(source_L === undefined ? {} : { source_L: sources }),
    numLayers,
    offset_LK: Uint32Array.from(offsets),
    position_n: Uint32Array.from(positions),
    ...(score_n === undefined ? {} : { score_n: Float32Array.from(scores) }),
  };
}
