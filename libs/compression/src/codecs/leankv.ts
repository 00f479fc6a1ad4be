/**
 * LeanKV's mixed precision: the important pairs of a head as K8V4, the others as K4V2.
 *
 * Of the n rows of a head, the `round(high · n)` with the highest scores are of the high class,
 * ties to the lower position. Within its class a key or value is quantised per token in groups
 * of `group` channels (quantised-rows.ts), so that a row's bytes do not depend on others.
 *
 * Paper: arXiv:2412.03131: keys need more bits than values, important pairs more than others.
 * No code of it is public; classes by share rather than by thresholds are ours, so that sizes
 * follow from the counts alone. The third class, dropped, is the selector's.
 *
 * Tensors: `class` U8 `[ceil(n / 8)]`, bit n of a little-endian bit string set for the high
 * class; `kh`, `vh`, `kl`, `vl` U8 with `.scale`, `.zero` F16, rows of the class in order.
 *
 * @module
 */
import { KvaultError, type NamedTensor } from "@kvault/core";
import { z } from "zod";
import { roundHalfEven } from "../round-half-even.ts";
import { selectTopK } from "../selectors/top-k.ts";
import type { CodecFactory, EncodableLayer, RaggedLayout } from "../types.ts";
import { expectTensors, type PlannedCodec, planBytes, type TensorPlan } from "./expect-tensors.ts";
import type { CodeBits } from "./packed-rows.ts";
import {
  putQuantised,
  quantisedError,
  quantisedPlan,
  type RowLayout,
  type RowQuantiser,
  readQuantised,
} from "./quantised-rows.ts";

const params = z.strictObject({
  high: z
    .number()
    .min(0)
    .max(1)
    .default(0.33)
    .describe("share of a head's kept pairs in the class of 8-bit keys and 4-bit values"),
  group: z.int().min(8).max(1024).default(64).describe("channels that share a scale"),
});

/** Name, bits and class of each quantised side. */
const SIDES = [
  { name: "kh", bits: 8, isHigh: true, isKey: true },
  { name: "vh", bits: 4, isHigh: true, isKey: false },
  { name: "kl", bits: 4, isHigh: false, isKey: true },
  { name: "vl", bits: 2, isHigh: false, isKey: false },
] as const satisfies readonly { name: string; bits: CodeBits; isHigh: boolean; isKey: boolean }[];

export const leankv: CodecFactory = {
  name: "leankv",
  summary: "8-bit keys and 4-bit values for important pairs, 4 and 2 for the others",
  source: "arXiv:2412.03131",
  params,
  create: (given) => createLeankv(params.parse(given)),
};

/** What {@link createLeankv} is told. */
interface LeankvOptions {
  readonly high: number;
  readonly group: number;
}

function createLeankv({ high, group }: LeankvOptions): PlannedCodec {
  const quantiserOf = (bits: CodeBits): RowQuantiser => ({ bits, along: "channels", group });
  const planOf = (layout: RaggedLayout): TensorPlan =>
    Object.assign(
      { class: { dtype: "U8", shape: [Math.ceil(layout.position_n.length / 8)] } },
      ...SIDES.map(({ name, bits, isHigh }) => quantisedPlan(name, classLayout(layout, high, isHigh), quantiserOf(bits))),
    );
  return {
    needs: new Set(["scores"] as const),
    maxRelativeError: quantisedError(2),
    encode: (layer) => {
      const class_n = classify(layer, high);
      const tensors = new Map<string, NamedTensor>([["class", packClasses(class_n)]]);
      for (const { name, bits, isHigh, isKey } of SIDES) {
        const rows_nD = gatherClass(isKey ? layer.key_nD : layer.value_nD, class_n, isHigh, layer.headDim);
        putQuantised(tensors, name, rows_nD, classLayout(layer, high, isHigh), quantiserOf(bits));
      }
      return tensors;
    },
    decode: (tensors, layout) => {
      expectTensors(tensors, planOf(layout));
      const class_n = unpackClasses(tensors.get("class")!.data, layout, high);
      const count = layout.position_n.length * layout.headDim;
      const decoded = { key_nD: new Float32Array(count), value_nD: new Float32Array(count) };
      for (const { name, bits, isHigh, isKey } of SIDES) {
        const rows_nD = readQuantised(tensors, name, classLayout(layout, high, isHigh), quantiserOf(bits));
        scatterClass(rows_nD, class_n, isHigh, layout.headDim, isKey ? decoded.key_nD : decoded.value_nD);
      }
      return decoded;
    },
    encodedBytes: (layout) => planBytes(planOf(layout)),
    planOf,
  };
}

/** Rows of a head in the high class. */
function highCount(count: number, high: number): number {
  return roundHalfEven(high * count);
}

/** The rows of one class, head by head. */
function classLayout({ numKvHeads, headDim, offset }: RaggedLayout, high: number, isHigh: boolean): RowLayout {
  const ofClass = new Uint32Array(numKvHeads + 1);
  for (let k = 0; k < numKvHeads; k++) {
    const count = offset[k + 1] - offset[k];
    ofClass[k + 1] = ofClass[k] + (isHigh ? highCount(count, high) : count - highCount(count, high));
  }
  return { offset: ofClass, headDim };
}

/** 1 for rows of the high class. */
function classify({ numKvHeads, offset, position_n, score_n }: EncodableLayer, high: number): Uint8Array {
  if (score_n?.length !== position_n.length) {
    throw new RangeError(`Cannot classify ${position_n.length} pairs: found ${score_n?.length ?? "no"} scores`);
  }
  const class_n = new Uint8Array(position_n.length);
  for (let k = 0; k < numKvHeads; k++) {
    const best = selectTopK(score_n.subarray(offset[k], offset[k + 1]), 0, highCount(offset[k + 1] - offset[k], high));
    for (let i = 0; i < best.length; i++) class_n[offset[k] + best[i]] = 1;
  }
  return class_n;
}

function packClasses(class_n: Uint8Array): NamedTensor {
  const data = new Uint8Array(Math.ceil(class_n.length / 8));
  for (let n = 0; n < class_n.length; n++) data[n >> 3] |= class_n[n] << (n & 7);
  return { dtype: "U8", shape: [data.length], data };
}

/** Throws CACHE_CORRUPT unless every head has as many rows of the high class as it must. */
function unpackClasses(data: Uint8Array, { numKvHeads, offset, position_n }: RaggedLayout, high: number): Uint8Array {
  const class_n = new Uint8Array(position_n.length);
  for (let k = 0; k < numKvHeads; k++) {
    let found = 0;
    for (let n = offset[k]; n < offset[k + 1]; n++) {
      class_n[n] = (data[n >> 3] >> (n & 7)) & 1;
      found += class_n[n];
    }
    const expected = highCount(offset[k + 1] - offset[k], high);
    if (found !== expected) {
      throw new KvaultError("CACHE_CORRUPT", `Cannot decode part: head ${k} has ${found} important pairs, expected ${expected}`, {
        details: { tensor: "class", kvHead: k },
      });
    }
  }
  return class_n;
}

function gatherClass(source_nD: Float32Array, class_n: Uint8Array, isHigh: boolean, D: number): Float32Array {
  const out_nD = new Float32Array(source_nD.length);
  let to = 0;
  for (let n = 0; n < class_n.length; n++) {
    if ((class_n[n] === 1) !== isHigh) continue;
    for (let d = 0; d < D; d++) out_nD[to++] = source_nD[n * D + d];
  }
  return out_nD.subarray(0, to);
}

function scatterClass(rows_nD: Float32Array, class_n: Uint8Array, isHigh: boolean, D: number, out_nD: Float32Array): void {
  let from = 0;
  for (let n = 0; n < class_n.length; n++) {
    if ((class_n[n] === 1) !== isHigh) continue;
    for (let d = 0; d < D; d++) out_nD[n * D + d] = rows_nD[from++];
  }
}
