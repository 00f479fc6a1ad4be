/**
 * KIVI: keys per channel, values per token, the most recent tokens in f16.
 *
 * Paper: arXiv:2402.02750. Keys have outlier channels, values have none: keys share scales
 * along `group` kept tokens of one channel, values along `group` channels of one token
 * (quantised-rows.ts). Of a head's n rows, keys keep the last `n mod residual` as halves and
 * values the last `residual`, as the authors' code does after a prefill. Keys stay rotated.
 *
 * Groups are formed over the kept tokens of a head inside one part; the last may be shorter.
 * A layer of several parts keeps a residual in each. Tensors `k`, `v` U8 with `.scale`, `.zero`
 * F16, and `k.tail`, `v.tail` F16 `[·, D]`, heads in order.
 *
 * At 2 bits retrieval suffers on models with few KV heads (the authors measured it too).
 *
 * @module
 */
import { alignedView, bytesOf, decodeF16, type NamedTensor } from "@kvault/core";
import { z } from "zod";
import type { CodecFactory, RaggedLayout } from "../types.ts";
import { expectTensors, type PlannedCodec, planBytes, type TensorPlan } from "./expect-tensors.ts";
import { encodeHalves } from "./f16.ts";
import type { CodeBits } from "./packed-rows.ts";
import {
  putQuantised,
  quantisedError,
  quantisedPlan,
  type RowLayout,
  type RowQuantiser,
  readQuantised,
} from "./quantised-rows.ts";

const params = z
  .strictObject({
    bits: z.literal([4, 2]).default(4).describe("bits of a code: 4 or 2"),
    group: z.int().min(8).max(1024).default(64).describe("kept tokens (keys) or channels (values) that share a scale"),
    residual: z.int().min(0).max(65_536).default(128).describe("recent kept tokens of a head in f16, a multiple of the group"),
  })
  .refine(({ group, residual }) => residual % group === 0, { message: "must be a multiple of the group", path: ["residual"] });

export const kivi: CodecFactory = {
  name: "kivi",
  summary: "keys per channel, values per token, recent tokens in f16",
  source: "arXiv:2402.02750",
  params,
  create: (given) => createKivi(params.parse(given)),
};

/** Rows of a head that stay halves, of `count`. */
type TailLength = (count: number) => number;

/** What {@link createKivi} is told. */
export interface KiviOptions {
  readonly bits: CodeBits;
  readonly group: number;
  /** A multiple of `group`. */
  readonly residual: number;
}

export function createKivi({ bits, group, residual }: KiviOptions): PlannedCodec {
  const sides = {
    k: {
      quantiser: { bits, along: "tokens", group } as RowQuantiser,
      tail: ((count) => (residual === 0 ? 0 : count % residual)) as TailLength,
    },
    v: {
      quantiser: { bits, along: "channels", group } as RowQuantiser,
      tail: ((count) => Math.min(count, residual)) as TailLength,
    },
  };
  const planOf = (layout: RaggedLayout): TensorPlan =>
    Object.assign(
      {},
      ...(["k", "v"] as const).map((name) => {
        const body = bodyLayout(layout, sides[name].tail);
        const tailRows = layout.position_n.length - body.offset[layout.numKvHeads];
        return {
          ...quantisedPlan(name, body, sides[name].quantiser),
          [`${name}.tail`]: { dtype: "F16", shape: [tailRows, layout.headDim] },
        };
      }),
    );
  return {
    maxRelativeError: quantisedError(bits),
    encode: (layer) => {
      const tensors = new Map<string, NamedTensor>();
      for (const [name, source_nD] of [
        ["k", layer.key_nD],
        ["v", layer.value_nD],
      ] as const) {
        const { quantiser, tail } = sides[name];
        const { body_nD, tail_nD } = splitTails(source_nD, layer, tail);
        putQuantised(tensors, name, body_nD, bodyLayout(layer, tail), quantiser);
        const shape = [tail_nD.length / layer.headDim, layer.headDim];
        tensors.set(`${name}.tail`, {
          dtype: "F16",
          shape,
          data: bytesOf(encodeHalves(name === "k" ? "key" : "value", tail_nD)),
        });
      }
      return tensors;
    },
    decode: (tensors, layout) => {
      expectTensors(tensors, planOf(layout));
      const side = (name: "k" | "v"): Float32Array => {
        const { quantiser, tail } = sides[name];
        const body_nD = readQuantised(tensors, name, bodyLayout(layout, tail), quantiser);
        return joinTails(body_nD, decodeF16(alignedView(tensors.get(`${name}.tail`)!.data, Uint16Array)), layout, tail);
      };
      return { key_nD: side("k"), value_nD: side("v") };
    },
    encodedBytes: (layout) => planBytes(planOf(layout)),
    planOf,
  };
}

/** The rows that are quantised. */
function bodyLayout({ numKvHeads, headDim, offset }: RaggedLayout, tail: TailLength): RowLayout {
  const body = new Uint32Array(numKvHeads + 1);
  for (let k = 0; k < numKvHeads; k++) {
    const count = offset[k + 1] - offset[k];
    body[k + 1] = body[k] + count - tail(count);
  }
  return { offset: body, headDim };
}

function splitTails(
  source_nD: Float32Array,
  { numKvHeads, headDim: D, offset }: RaggedLayout,
  tail: TailLength,
): { body_nD: Float32Array; tail_nD: Float32Array } {
  const body_nD = new Float32Array(source_nD.length);
  const tail_nD = new Float32Array(source_nD.length);
  let body = 0;
  let rest = 0;
  for (let k = 0; k < numKvHeads; k++) {
    const cut = (offset[k + 1] - tail(offset[k + 1] - offset[k])) * D;
    const head = source_nD.subarray(offset[k] * D, cut);
    const recent = source_nD.subarray(cut, offset[k + 1] * D);
    body_nD.set(head, body);
    tail_nD.set(recent, rest);
    body += head.length;
    rest += recent.length;
  }
  return { body_nD: body_nD.subarray(0, body), tail_nD: tail_nD.slice(0, rest) };
}

function joinTails(
  body_nD: Float32Array,
  tail_nD: Float32Array,
  { numKvHeads, headDim: D, offset }: RaggedLayout,
  tail: TailLength,
): Float32Array {
  const out_nD = new Float32Array(body_nD.length + tail_nD.length);
  let body = 0;
  let rest = 0;
  for (let k = 0; k < numKvHeads; k++) {
    const cut = (offset[k + 1] - tail(offset[k + 1] - offset[k])) * D;
    const bodyEnd = body + cut - offset[k] * D;
    const restEnd = rest + offset[k + 1] * D - cut;
    out_nD.set(body_nD.subarray(body, bodyEnd), offset[k] * D);
    out_nD.set(tail_nD.subarray(rest, restEnd), cut);
    body = bodyEnd;
    rest = restEnd;
  }
  return out_nD;
}
