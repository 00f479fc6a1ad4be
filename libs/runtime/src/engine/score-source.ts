/**
 * A prefilled context as scorers see it: only what they need is copied out.
 *
 * @module
 */
import type { ScorerNeed, ScoreSource } from "@kvault/compression";
import type { KvShape } from "@kvault/core";
import type { PrefilledContext } from "../model-runner.ts";

/** `repeatAttention` is the repeat pass' result, `[kvHead, seq]` per layer, where a scorer asked for it. */
export function scoreSource(
  { numLayers, numKvHeads, headDim }: KvShape,
  context: PrefilledContext,
  needs: ReadonlySet<ScorerNeed>,
  repeatAttention: readonly Float32Array[] | undefined,
): ScoreSource {
  const sizes = { numLayers, numKvHeads, headDim, seqLen: context.seqLen, prefixTokens: context.prompt.prefixIds.length };
  return {
    ...sizes,
    layer(layer) {
      const dense = needs.has("keys") || needs.has("values") ? context.layer(layer) : undefined;
      return {
        layer,
        ...sizes,
        ...(dense !== undefined && needs.has("keys") ? { key_KSD: dense.key_KSD } : {}),
        ...(dense !== undefined && needs.has("values") ? { value_KSD: dense.value_KSD } : {}),
        ...(repeatAttention === undefined ? {} : { repeatAttention_KS: repeatAttention[layer] }),
      };
    },
  };
}
