/**
 * int4 codec: 4-bit codes with a scale and a zero for every `group` channels of one token of
 * one head (quantised-rows.ts), keys and values alike. Tensors `k`, `v` U8 `[n, D / 2]` beside
 * `.scale` and `.zero` F16 `[n, D / group]`. Bytes: `D + 8` a row at D = 64: 0.28 of f16.
 *
 * Needs no neighbours, and little else is to be said for it: in models whose keys have outlier
 * channels (Qwen2) most retrieval is lost. Use `pre-rope` or `kivi` for keys.
 *
 * @module
 */
import type { NamedTensor } from "@kvault/core";
import { z } from "zod";
import type { CodecFactory, RaggedLayerKv, RaggedLayout } from "../types.ts";
import { expectTensors, planBytes, type TensorPlan } from "./expect-tensors.ts";
import { putQuantised, quantisedError, quantisedPlan, type RowQuantiser, readQuantised } from "./quantised-rows.ts";

const params = z.strictObject({
  group: z.int().min(8).max(1024).default(64).describe("channels that share a scale"),
});

export const int4: CodecFactory = {
  name: "int4",
  summary: "half a byte a value, scale and zero per token, head and group of channels",
  source: "own",
  params,
  create: (given) => {
    const quantiser: RowQuantiser = { bits: 4, along: "channels", group: params.parse(given).group };
    return {
      maxRelativeError: quantisedError(4),
      encode: (layer) => encode(layer, quantiser),
      decode: (tensors, layout) => {
        expectTensors(tensors, planOf(layout, quantiser));
        return {
          key_nD: readQuantised(tensors, "k", layout, quantiser),
          value_nD: readQuantised(tensors, "v", layout, quantiser),
        };
      },
      encodedBytes: (layout) => planBytes(planOf(layout, quantiser)),
    };
  },
};

function encode(layer: RaggedLayerKv, quantiser: RowQuantiser): Map<string, NamedTensor> {
  const tensors = new Map<string, NamedTensor>();
  putQuantised(tensors, "k", layer.key_nD, layer, quantiser);
  putQuantised(tensors, "v", layer.value_nD, layer, quantiser);
  return tensors;
}

function planOf(layout: RaggedLayout, quantiser: RowQuantiser): TensorPlan {
  return { ...quantisedPlan("k", layout, quantiser), ...quantisedPlan("v", layout, quantiser) };
}
