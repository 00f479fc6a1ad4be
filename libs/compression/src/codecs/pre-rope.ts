/**
 * Pre-RoPE codec: keys are turned back to where RoPE found them, and quantised there.
 *
 * Rotation smears every channel over its pair with a phase that differs from token to token,
 * so rotated keys have no quiet channels. Turned back by their positions, each channel has its
 * own narrow range: keys are quantised per channel in groups of `group` kept tokens of a head,
 * values per token in groups of `group` channels (quantised-rows.ts), and decoding turns the
 * keys forth again. Measured on Qwen2.5, whose keys have outlier channels: 8-bit keys and 4-bit
 * values lose nothing, 4-bit keys a tenth of the needles where 4 bits per token lose nearly all.
 * Idea: KVTC (arXiv:2511.01815) and KIVI (arXiv:2402.02750); the composition is our own.
 *
 * Tensors `k`, `v` U8 with `.scale`, `.zero` F16, and `rope` F32 `[D / 2]`: the frequencies the
 * keys were turned by, so that the spec is the same for every model and a part decodes alone.
 * Both ways use the rounded f32 frequencies, so their rounding cancels.
 * Bytes a pair at 64 channels: `8·keys + 8·values`, and 4 a channel for 64 tokens: 4-bit both,
 * 0.28 of f16.
 *
 * @module
 */
import { alignedView, bytesOf, type NamedTensor } from "@kvault/core";
import { z } from "zod";
import type { CodecFactory, EncodableLayer, RaggedLayout } from "../types.ts";
import { expectTensors, type PlannedCodec, planBytes, type TensorPlan } from "./expect-tensors.ts";
import type { CodeBits } from "./packed-rows.ts";
import { putQuantised, quantisedError, quantisedPlan, type RowQuantiser, readQuantised } from "./quantised-rows.ts";
import { turnRows } from "./rotation.ts";

const bits = z.literal([8, 4, 3, 2]);

const params = z.strictObject({
  keys: bits.default(8).describe("bits of a key's value: 8, 4, 3 or 2"),
  values: bits.default(4).describe("bits of a value's value: 8, 4, 3 or 2"),
  group: z.int().min(8).max(1024).default(64).describe("kept tokens (keys) or channels (values) that share a scale"),
});

export const preRope: CodecFactory = {
  name: "pre-rope",
  summary: "keys before rotation per channel, values per token",
  source: "own",
  params,
  create: (given) => createPreRope(params.parse(given)),
};

/** What {@link createPreRope} is told. */
export interface PreRopeOptions {
  readonly keys: CodeBits;
  readonly values: CodeBits;
  readonly group: number;
}

export function createPreRope({ keys, values, group }: PreRopeOptions): PlannedCodec {
  const keyQuantiser: RowQuantiser = { bits: keys, along: "tokens", group };
  const valueQuantiser: RowQuantiser = { bits: values, along: "channels", group };
  const planOf = (layout: RaggedLayout): TensorPlan => ({
    ...quantisedPlan("k", layout, keyQuantiser),
    ...quantisedPlan("v", layout, valueQuantiser),
    rope: { dtype: "F32", shape: [layout.headDim >> 1] },
  });
  return {
    needs: new Set(["rope"] as const),
    // Turning back can lengthen a channel by √2, turning forth adds the errors of two.
    maxRelativeError: Math.max(2 * quantisedError(keys), quantisedError(values)),
    encode: (layer) => encode(layer, keyQuantiser, valueQuantiser),
    decode: (tensors, layout) => {
      expectTensors(tensors, planOf(layout));
      const frequencies = alignedView(tensors.get("rope")!.data, Float32Array);
      const key_nD = readQuantised(tensors, "k", layout, keyQuantiser);
      turnRows(key_nD, layout.position_n, layout.headDim, frequencies, 1, key_nD);
      return { key_nD, value_nD: readQuantised(tensors, "v", layout, valueQuantiser) };
    },
    encodedBytes: (layout) => planBytes(planOf(layout)),
    planOf,
  };
}

function encode(layer: EncodableLayer, keyQuantiser: RowQuantiser, valueQuantiser: RowQuantiser): Map<string, NamedTensor> {
  const { headDim, position_n, key_nD, value_nD, ropeFrequencies } = layer;
  if (ropeFrequencies === undefined) throw new RangeError("Cannot turn keys back: found no RoPE frequencies");
  const frequencies = Float32Array.from(ropeFrequencies);
  const plain_nD = new Float32Array(key_nD.length);
  turnRows(key_nD, position_n, headDim, frequencies, -1, plain_nD);
  const tensors = new Map<string, NamedTensor>();
  putQuantised(tensors, "k", plain_nD, layer, keyQuantiser);
  putQuantised(tensors, "v", value_nD, layer, valueQuantiser);
  tensors.set("rope", { dtype: "F32", shape: [frequencies.length], data: bytesOf(frequencies) });
  return tensors;
}
