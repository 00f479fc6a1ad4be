/**
 * Entropy codec: the tensors of the pre-RoPE codec, their bytes coded by how often they occur.
 *
 * Codes of a group between its least and largest value bunch in the middle, and the high bytes
 * of scales hardly vary: order-0 coding of bytes (two 4-bit codes at a time) takes a tenth off
 * the codes and a third off the scales, losslessly. On our reference vectors 4-bit keys cost
 * 3.8 bits in groups of 64 tokens, 3.6 in groups of 256, values 3.7. Idea: CacheGen
 * (arXiv:2310.07240); our own format, whose models are static, one per tensor and byte plane
 * of a part and stored with it: 256 bytes, against the tables per channel that CacheGen keeps.
 *
 * Tensors: for each U8 or F16 tensor `t` of the inner codec and each byte plane p of it (one
 * for U8, low and high for F16), `t.p` U8 `[bytes]` and `t.p.model` U8 `[256]` (rans.ts). A
 * plane that would not shrink is stored as it is, its model `[0]`. Other tensors stay.
 * Sizes depend on the data; what is declared is the ceiling. Decoding costs some 10 ns a byte.
 *
 * @module
 */
import { alignedView, KvaultError, type NamedTensor } from "@kvault/core";
import { z } from "zod";
import type { Codec, CodecFactory } from "../types.ts";
import { expectTensors, type PlannedCodec, planBytes, type TensorPlan } from "./expect-tensors.ts";
import { createPreRope } from "./pre-rope.ts";
import { decodeRans, encodeRans, modelOf, weightsOf } from "./rans.ts";

const params = z.strictObject({
  keys: z.literal([8, 4, 3, 2]).default(4).describe("bits of a key's value before coding: 8, 4, 3 or 2"),
  values: z.literal([8, 4, 3, 2]).default(4).describe("bits of a value's value before coding: 8, 4, 3 or 2"),
  group: z.int().min(8).max(1024).default(256).describe("kept tokens (keys) or channels (values) that share a scale"),
});

export const entropy: CodecFactory = {
  name: "entropy",
  summary: "pre-rope with its bytes entropy-coded",
  source: "arXiv:2310.07240",
  params,
  create: (given) => entropyCoded(createPreRope(params.parse(given))),
};

const SYMBOLS = 256;

/** `inner` with its U8 and F16 tensors entropy-coded. */
export function entropyCoded({ planOf, ...inner }: PlannedCodec): Codec {
  return {
    ...inner,
    sizeDependsOnData: true,
    encode: (layer) => {
      const tensors = new Map<string, NamedTensor>();
      for (const [name, tensor] of inner.encode(layer)) {
        if (planesOf(tensor.dtype) === 0) tensors.set(name, tensor);
        else putCoded(tensors, name, tensor.data, planesOf(tensor.dtype));
      }
      return tensors;
    },
    decode: (tensors, layout) => {
      const plan = planOf(layout);
      expectTensors(tensors, codedPlan(plan, tensors));
      const decoded = new Map<string, NamedTensor>();
      for (const [name, { dtype, shape }] of Object.entries(plan)) {
        const bytes = planBytes({ [name]: { dtype, shape } });
        const isCoded = planesOf(dtype) > 0;
        const data = isCoded ? readCoded(tensors, name, bytes, planesOf(dtype)) : tensors.get(name)!.data;
        decoded.set(name, { dtype, shape, data });
      }
      return inner.decode(decoded, layout);
    },
  };
}

/** Byte planes of an element; 0: not coded. */
function planesOf(dtype: NamedTensor["dtype"]): number {
  return dtype === "U8" ? 1 : dtype === "F16" ? 2 : 0;
}

function putCoded(tensors: Map<string, NamedTensor>, name: string, data: Uint8Array, planes: number): void {
  const count = data.length / planes;
  for (let p = 0; p < planes; p++) {
    const plane = new Uint8Array(count);
    for (let i = 0; i < count; i++) plane[i] = data[i * planes + p];
    const weight = weightsOf(plane);
    const code = count === 0 ? plane : encodeRans(plane, modelOf(weight));
    const shrinks = code.length + SYMBOLS < count;
    tensors.set(`${name}.${p}`, rankOne(shrinks ? code : plane));
    tensors.set(`${name}.${p}.model`, rankOne(shrinks ? weight : weight.subarray(0, 0)));
  }
}

function rankOne(data: Uint8Array): NamedTensor {
  return { dtype: "U8", shape: [data.length], data };
}

/** `bytes` bytes of tensor `name`. Throws CACHE_CORRUPT where the planes do not give as many. */
function readCoded(tensors: ReadonlyMap<string, NamedTensor>, name: string, bytes: number, planes: number): Uint8Array {
  const count = bytes / planes;
  const out = new Uint8Array(bytes);
  for (let p = 0; p < planes; p++) {
    const weight = tensors.get(`${name}.${p}.model`)!.data;
    const code = tensors.get(`${name}.${p}`)!.data;
    const plane = weight.length === 0 ? code : new Uint8Array(count);
    if (weight.length > 0 && code.length % 2 === 0) decodeRans(alignedView(code, Uint16Array), modelOf(weight), plane);
    else if (weight.length > 0 || code.length !== count) throw corruptPlane(name, p, code.length, count);
    if (planes === 1) return plane;
    for (let i = 0; i < count; i++) out[i * planes + p] = plane[i];
  }
  return out;
}

/** What must be there, the planes' lengths and whether they have models being what they are. */
function codedPlan(plan: TensorPlan, tensors: ReadonlyMap<string, NamedTensor>): TensorPlan {
  const coded: Record<string, TensorPlan[string]> = {};
  for (const [name, tensor] of Object.entries(plan)) {
    const planes = planesOf(tensor.dtype);
    if (planes === 0) coded[name] = tensor;
    for (let p = 0; p < planes; p++) {
      const hasModel = tensors.get(`${name}.${p}.model`)?.shape[0] !== 0;
      coded[`${name}.${p}.model`] = { dtype: "U8", shape: [hasModel ? SYMBOLS : 0] };
      coded[`${name}.${p}`] = { dtype: "U8", shape: [tensors.get(`${name}.${p}`)?.shape[0] ?? 0] };
    }
  }
  return coded;
}

function corruptPlane(name: string, plane: number, found: number, expected: number): KvaultError {
  return new KvaultError(
    "CACHE_CORRUPT",
    `Cannot decode part: plane ${plane} of tensor "${name}" is ${found} bytes of ${expected}`,
    { details: { tensor: name } },
  );
}
