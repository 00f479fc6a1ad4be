/**
 * Entropy codec: keys before rotation per channel, values per token, all of it coded by how
 * often it occurs.
 *
 * Keys are turned back as in pre-rope.ts; keys and values become codes on a grid (grid-rows.ts),
 * the codes of each channel of a head symbols of the model that channels like it share
 * (symbol-streams.ts, rans.ts). Codes of a group between its least and largest value bunch in
 * the middle, and channels differ in how: four bits take about three and a half. Positions are
 * coded as the gaps between kept tokens. Idea: CacheGen (arXiv:2310.07240); our own format,
 * whose models are static and few, against its tables per channel.
 *
 * Tensors: `code` U8, the streams of positions, then of keys' steps, zeros and codes, then of
 * values'; `base` F32 `[2]`, the largest step of keys and of values; `rope` F32 `[D / 2]`. The
 * size depends on the data; what is declared is the ceiling. A part of another `layout`
 * is refused as one of another codec.
 *
 * @module
 */
import { alignedView, bytesOf, KvaultError, type NamedTensor } from "@kvault/core";
import { z } from "zod";
import type { Codec, CodecFactory, EncodableLayer, RaggedLayout } from "../types.ts";
import { expectTensors, planBytes, type TensorPlan } from "./expect-tensors.ts";
import { countGroups, fromGrid, type GridRows, toGrid } from "./grid-rows.ts";
import { quantisedError, type RowLayout, type RowQuantiser } from "./quantised-rows.ts";
import { turnRows } from "./rotation.ts";
import { integersCeiling, rowsCeiling, StreamReader, StreamWriter } from "./symbol-streams.ts";

const bits = z.literal([8, 4, 3, 2]);

const params = z.strictObject({
  keys: bits.default(4).describe("bits of a key's value before coding: 8, 4, 3 or 2"),
  values: bits.default(4).describe("bits of a value's value before coding: 8, 4, 3 or 2"),
  group: z.int().min(8).max(1024).default(256).describe("kept tokens (keys) or channels (values) that share a scale"),
  layout: z.literal(2).default(2).describe("of the tensors, by number: 2"),
});

export const entropy: CodecFactory = {
  name: "entropy",
  summary: "keys before rotation per channel, values per token, entropy-coded",
  source: "arXiv:2310.07240",
  params,
  create: (given) => createEntropy(params.parse(given)),
};

function createEntropy({ keys, values, group }: Omit<z.infer<typeof params>, "layout">): Codec {
  const key: RowQuantiser = { bits: keys, along: "tokens", group };
  const value: RowQuantiser = { bits: values, along: "channels", group };
  return {
    needs: new Set(["rope"] as const),
    // As of pre-rope: turning back can lengthen a channel by √2, turning forth adds the errors of two.
    maxRelativeError: Math.max(2 * quantisedError(keys), quantisedError(values)),
    encode: (layer) => encode(layer, key, value),
    decodePositions: (tensors, layout) => {
      expectTensors(tensors, planOf(tensors, layout.headDim));
      return readPositions(new StreamReader(tensors.get("code")!.data), layout);
    },
    decode: (tensors, layout) => decode(tensors, layout, key, value),
    sizeDependsOnData: true,
    encodedBytes: (layout) => ceiling(layout, key, value),
  };
}

function encode(layer: EncodableLayer, key: RowQuantiser, value: RowQuantiser): Map<string, NamedTensor> {
  const { headDim, position_n, key_nD, value_nD, ropeFrequencies } = layer;
  if (ropeFrequencies === undefined) throw new RangeError("Cannot turn keys back: found no RoPE frequencies");
  const frequencies = Float32Array.from(ropeFrequencies);
  const plain_nD = new Float32Array(key_nD.length);
  turnRows(key_nD, position_n, headDim, frequencies, -1, plain_nD);
  const writer = new StreamWriter();
  writer.putIntegers(gapsOf(layer));
  const base = [toGrid(plain_nD, layer, key), toGrid(value_nD, layer, value)].map((rows, i) => {
    writer.putIntegers(rows.step);
    writer.putIntegers(rows.zero);
    writer.putRows(rows.code_nD, layer, [key, value][i].bits);
    return rows.base;
  });
  const code = writer.bytes();
  return new Map<string, NamedTensor>([
    ["code", { dtype: "U8", shape: [code.length], data: code }],
    ["base", { dtype: "F32", shape: [2], data: bytesOf(Float32Array.from(base)) }],
    ["rope", { dtype: "F32", shape: [frequencies.length], data: bytesOf(frequencies) }],
  ]);
}

function decode(
  tensors: ReadonlyMap<string, NamedTensor>,
  layout: RaggedLayout,
  key: RowQuantiser,
  value: RowQuantiser,
): { key_nD: Float32Array; value_nD: Float32Array } {
  expectTensors(tensors, planOf(tensors, layout.headDim));
  const base = alignedView(tensors.get("base")!.data, Float32Array);
  const reader = new StreamReader(tensors.get("code")!.data);
  readPositions(reader, layout);
  const readRows = (quantiser: RowQuantiser, largest: number): Float32Array => {
    const count = countGroups(layout, quantiser);
    const step = reader.integers(count);
    const zero = reader.integers(count);
    const rows: GridRows = { step, zero, code_nD: reader.rows(layout, quantiser.bits), base: largest };
    return fromGrid(rows, layout, quantiser);
  };
  const key_nD = readRows(key, base[0]);
  const value_nD = readRows(value, base[1]);
  reader.end();
  const frequencies = alignedView(tensors.get("rope")!.data, Float32Array);
  turnRows(key_nD, layout.position_n, layout.headDim, frequencies, 1, key_nD);
  return { key_nD, value_nD };
}

function planOf(tensors: ReadonlyMap<string, NamedTensor>, headDim: number): TensorPlan {
  return {
    code: { dtype: "U8", shape: [tensors.get("code")?.shape[0] ?? 0] },
    base: { dtype: "F32", shape: [2] },
    rope: { dtype: "F32", shape: [headDim >> 1] },
  };
}

/** Tokens left out before each kept one, from the head's beginning or the kept one before. */
function gapsOf({ offset, position_n }: RaggedLayout): Uint32Array {
  const gap_n = Uint32Array.from(position_n);
  for (let k = 0; k + 1 < offset.length; k++) {
    for (let n = offset[k] + 1; n < offset[k + 1]; n++) gap_n[n] = position_n[n] - position_n[n - 1] - 1;
  }
  return gap_n;
}

function readPositions(reader: StreamReader, { offset }: RowLayout): Uint32Array {
  const position_n = reader.integers(offset[offset.length - 1]);
  for (let k = 0; k + 1 < offset.length; k++) {
    for (let n = offset[k] + 1; n < offset[k + 1]; n++) {
      const position = position_n[n - 1] + position_n[n] + 1;
      if (position > 0xffff_ffff) throw new KvaultError("CACHE_CORRUPT", `Cannot decode part: found position ${position}`);
      position_n[n] = position;
    }
  }
  return position_n;
}

function ceiling(layout: RaggedLayout, key: RowQuantiser, value: RowQuantiser): number {
  const rest = planBytes({ base: { dtype: "F32", shape: [2] }, rope: { dtype: "F32", shape: [layout.headDim >> 1] } });
  const sides = [key, value].map(
    (quantiser) => 2 * integersCeiling(countGroups(layout, quantiser)) + rowsCeiling(layout, quantiser.bits),
  );
  return rest + integersCeiling(layout.position_n.length) + sides[0] + sides[1];
}
