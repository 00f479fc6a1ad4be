/**
 * Parts: how the kept pairs of a layer become files and come back.
 *
 * A part is a complete safetensors file holding a contiguous run of the layer's flat rows:
 * the codec's tensors for them, `pos` U32 `[n]` (original positions; a codec may have its own
 * way to store them) and `offsets` U32 `[K+1]` (rows of each head inside this part). The parts of a layer, in order, concatenate; their
 * offsets add up. Same layer, codec and limit: same bytes (parts are content-addressed).
 *
 * A reader trusts nothing: tensors must be exactly the codec's, offsets and positions must
 * form rows of the stated context, or the layer is refused with CACHE_CORRUPT.
 *
 * @module
 */
import {
  alignedView,
  bytesOf,
  checkRagged,
  decodeSafetensors,
  encodeSafetensors,
  KvaultError,
  type NamedTensor,
  type RaggedLayerKv,
} from "@kvault/core";
import { expectTensors } from "./codecs/expect-tensors.ts";
import { codecFromSpec } from "./plan.ts";
import type { Codec, DecodedLayer, EncodableLayer, RaggedLayout, Recall } from "./types.ts";

/** Large enough that request overhead vanishes, small enough to retry and to hold twice. */
export const MAX_PART_BYTES: number = 8 * 1024 * 1024;

/** Room for a part's safetensors header: a few dozen tensors. */
const HEADER_BYTES = 8 * 1024;

/** What the manifest says of a layer. */
export interface LayerShape {
  readonly numKvHeads: number;
  readonly headDim: number;
  /** Context length: bound of every position. */
  readonly seqLen: number;
}

/**
 * Kept pairs → one or more parts of at most `maxPartBytes`, rows spread evenly; at least one,
 * even of no rows. Throws INTERNAL for a value that is not finite: stored, it would turn every
 * answer into NaN.
 */
export function encodeLayer(codec: Codec, layer: EncodableLayer, maxPartBytes: number = MAX_PART_BYTES): Uint8Array[] {
  checkFinite("key", layer.key_nD);
  checkFinite("value", layer.value_nD);
  return splitRows(codec, layer, maxPartBytes).map((slice) => encodePart(codec, slice));
}

/**
 * Parts of one layer, in order → its kept pairs. Throws INCOMPATIBLE_FORMAT for an unknown
 * codec and CACHE_CORRUPT for bytes that are not such a layer. The result may share memory
 * with the only part.
 */
export function decodeLayer(codecSpec: string, parts: readonly Uint8Array[], shape: LayerShape): DecodedLayer {
  return decodeParts(codecFromSpec(codecSpec), parts, shape);
}

/** {@link decodeLayer} with the codec at hand. */
export function decodeParts(codec: Codec, parts: readonly Uint8Array[], shape: LayerShape): DecodedLayer {
  const slices = parts.map((part) => decodePart(codec, part, shape));
  if (slices.length === 1) return slices[0];
  checkOrder(slices);
  const layer = joinSlices(slices, shape.numKvHeads, shape.headDim);
  checkRows(layer, shape.seqLen);
  return layer;
}

function checkFinite(what: "key" | "value", data_nD: Float32Array): void {
  for (let i = 0; i < data_nD.length; i++) {
    if (data_nD[i] - data_nD[i] !== 0) throw new KvaultError("INTERNAL", `Cannot encode layer: found ${what} ${data_nD[i]}`);
  }
}

/** The fewest even runs of rows that all fit; one of no rows where there are none. */
function splitRows(codec: Codec, layer: EncodableLayer, maxPartBytes: number): EncodableLayer[] {
  const count = Math.max(1, layer.position_n.length);
  let numParts = Math.ceil(partBytes(codec, layer) / maxPartBytes);
  for (;;) {
    const rows = Math.ceil(count / numParts);
    const slices: EncodableLayer[] = [];
    for (let start = 0; start < count; start += rows) slices.push(sliceRows(layer, start, start + rows));
    if (slices.every((slice) => partBytes(codec, slice) <= maxPartBytes)) return slices;
    if (rows === 1) {
      throw new RangeError(`Cannot encode layer: one row needs ${partBytes(codec, slices[0])} bytes, limit ${maxPartBytes}`);
    }
    numParts++;
  }
}

/** Rows from `start` up to `upTo` or the last of the flat data; shares memory, offsets are its own. */
function sliceRows(layer: EncodableLayer, start: number, upTo: number): EncodableLayer {
  const { numKvHeads, headDim, position_n, key_nD, value_nD, score_n } = layer;
  const end = Math.min(upTo, position_n.length);
  const offset = new Uint32Array(numKvHeads + 1);
  for (let k = 0; k <= numKvHeads; k++) offset[k] = Math.min(Math.max(layer.offset[k] - start, 0), end - start);
  return {
    ...layer,
    offset,
    ...(score_n === undefined ? {} : { score_n: score_n.subarray(start, end) }),
    position_n: position_n.subarray(start, end),
    key_nD: key_nD.subarray(start * headDim, end * headDim),
    value_nD: value_nD.subarray(start * headDim, end * headDim),
  };
}

function partBytes(codec: Codec, layout: RaggedLayout): number {
  const positions = codec.decodePositions === undefined ? layout.position_n.length : 0;
  return HEADER_BYTES + codec.encodedBytes(layout) + 4 * (positions + layout.offset.length);
}

function encodePart(codec: Codec, slice: EncodableLayer): Uint8Array {
  const tensors = new Map<string, NamedTensor>(codec.encode(slice));
  if (codec.decodePositions === undefined) {
    tensors.set("pos", { dtype: "U32", shape: [slice.position_n.length], data: bytesOf(slice.position_n) });
  }
  tensors.set("offsets", { dtype: "U32", shape: [slice.offset.length], data: bytesOf(slice.offset) });
  return encodeSafetensors(tensors);
}

function decodePart(codec: Codec, part: Uint8Array, shape: LayerShape): DecodedLayer {
  const { numKvHeads, headDim, seqLen } = shape;
  const tensors = new Map(decodeSafetensors(part).tensors);
  const rows = new Map<string, NamedTensor>();
  for (const name of codec.decodePositions === undefined ? ["pos", "offsets"] : ["offsets"]) {
    const tensor = tensors.get(name);
    if (tensor !== undefined) rows.set(name, tensor);
    tensors.delete(name);
  }
  const offsets = { dtype: "U32", shape: [numKvHeads + 1] } as const;
  const pos = { dtype: "U32", shape: [rows.get("pos")?.shape[0] ?? 0] } as const;
  expectTensors(rows, codec.decodePositions === undefined ? { pos, offsets } : { offsets });
  const offset = alignedView(rows.get("offsets")!.data, Uint32Array);
  checkOffsets(offset, seqLen);
  const position_n =
    codec.decodePositions?.(tensors, { numKvHeads, headDim, offset }) ?? alignedView(rows.get("pos")!.data, Uint32Array);
  const layout = { numKvHeads, headDim, offset, position_n };
  const slice = { ...layout, ...codec.decode(tensors, layout) };
  checkRows(slice, seqLen);
  return slice;
}

/** Before anything is made of them: rows of each head, no more than the context has tokens. */
function checkOffsets(offset: Uint32Array, seqLen: number): void {
  for (let k = 0; k + 1 < offset.length; k++) {
    const count = offset[k + 1] - offset[k];
    if (offset[0] !== 0 || count < 0 || count > seqLen) {
      throw new KvaultError("CACHE_CORRUPT", `Cannot decode layer: found ${count} rows of head ${k}, context of ${seqLen}`);
    }
  }
}

function checkRows(layer: RaggedLayerKv, seqLen: number): void {
  try {
    checkRagged(layer, seqLen);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new KvaultError("CACHE_CORRUPT", cause.message, { cause });
  }
}

/** Parts hold runs of one flat order: no part may have rows of a head before the last one of the part before it. */
function checkOrder(slices: readonly RaggedLayerKv[]): void {
  if (slices.length === 0) throw new KvaultError("CACHE_CORRUPT", "Cannot decode layer: found no parts");
  let lastHead = 0;
  for (const [i, { numKvHeads, offset }] of slices.entries()) {
    for (let k = 0; k < numKvHeads; k++) {
      if (offset[k] === offset[k + 1]) continue;
      if (k < lastHead) {
        throw new KvaultError("CACHE_CORRUPT", `Cannot decode layer: found head ${k} in part ${i}, after head ${lastHead}`);
      }
      lastHead = k;
    }
  }
}

function joinSlices(slices: readonly DecodedLayer[], numKvHeads: number, headDim: number): DecodedLayer {
  let count = 0;
  for (const slice of slices) count += slice.position_n.length;
  const offset = new Uint32Array(numKvHeads + 1);
  const position_n = new Uint32Array(count);
  const key_nD = new Float32Array(count * headDim);
  const value_nD = new Float32Array(count * headDim);
  let row = 0;
  for (const slice of slices) {
    for (let k = 0; k <= numKvHeads; k++) offset[k] += slice.offset[k];
    position_n.set(slice.position_n, row);
    key_nD.set(slice.key_nD, row * headDim);
    value_nD.set(slice.value_nD, row * headDim);
    row += slice.position_n.length;
  }
  const recall = joinClusters(slices);
  return { numKvHeads, headDim, offset, position_n, key_nD, value_nD, ...(recall === undefined ? {} : { recall }) };
}

/** Clusters of a head's later parts are numbered on from those of its earlier ones. */
function joinClusters(slices: readonly DecodedLayer[]): Recall | undefined {
  const recalls = slices.map(({ recall }) => recall).filter((recall) => recall !== undefined);
  if (recalls.length < slices.length) return undefined;
  const cluster_n = new Uint16Array(recalls.reduce((sum, recall) => sum + recall.cluster_n.length, 0));
  const next_K = new Uint32Array(slices[0].numKvHeads);
  let row = 0;
  for (const [i, { offset }] of slices.entries()) {
    for (let k = 0; k < next_K.length; k++) {
      const own = recalls[i].cluster_n.subarray(offset[k], offset[k + 1]);
      let count = 0;
      for (const cluster of own) {
        cluster_n[row++] = next_K[k] + cluster;
        count = Math.max(count, cluster + 1);
      }
      next_K[k] += count;
    }
  }
  return { cluster_n, budgetRows: recalls[0].budgetRows };
}
