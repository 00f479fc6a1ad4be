/**
 * What every codec must satisfy, alone and inside parts.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { NamedTensor, RaggedLayerKv, Rng } from "@kvault/core";
import { makeDenseLayer, makeRaggedLayer } from "@kvault/core/testing";
import { decodeParts, encodeLayer } from "../part.ts";
import type { Codec, CodecFactory, CodecNeed, EncodableLayer } from "../types.ts";
import { assertCorrupt, type ConformanceCheck, createDefault, factoryChecks, rngOf } from "./check.ts";

/** [kvHeads, seq, headDim]: single, odd, and one large enough for several parts. */
const SIZES: readonly (readonly [number, number, number])[] = [
  [1, 1, 1],
  [3, 17, 7],
  [2, 40, 64],
  [4, 200, 32],
];

/** Checks of one codec at its default parameters. */
export function codecConformance(factory: CodecFactory): ConformanceCheck[] {
  const check = (name: string, run: (codec: Codec, rng: Rng) => void): ConformanceCheck => ({
    name,
    run: () => run(createDefault(factory), rngOf(name)),
  });
  return [
    ...factoryChecks(factory),
    check("writes exactly the bytes it declares, or at most those where sizes depend on the data", (codec, rng) => {
      for (const layer of layers(rng)) {
        let bytes = 0;
        for (const { data } of codec.encode(layer).values()) bytes += data.byteLength;
        if (codec.sizeDependsOnData) assert.ok(bytes <= codec.encodedBytes(layer), `${bytes} of ${codec.encodedBytes(layer)}`);
        else assert.equal(bytes, codec.encodedBytes(layer));
      }
    }),
    check("leaves the names of positions and offsets to the part", (codec, rng) => {
      for (const layer of layers(rng)) {
        const names = [...codec.encode(layer).keys()];
        assert.ok(names.length > 0 && !names.includes("pos") && !names.includes("offsets"));
      }
    }),
    check("decodes within its stated error, bit for bit where that is 0", (codec, rng) => {
      for (const layer of layers(rng)) {
        const decoded = codec.decode(codec.encode(layer), layer);
        assertClose(decoded.key_nD, layer.key_nD, codec.maxRelativeError);
        assertClose(decoded.value_nD, layer.value_nD, codec.maxRelativeError);
      }
    }),
    check("gives back the positions that it stores itself, where it does", (codec, rng) => {
      for (const layer of layers(rng)) {
        const { numKvHeads, headDim, offset } = layer;
        const found = codec.decodePositions?.(codec.encode(layer), { numKvHeads, headDim, offset }) ?? layer.position_n;
        assert.deepEqual(found, layer.position_n);
      }
    }),
    check("gives every row a cluster of its head where it says that rows are recalled, and nowhere else", (codec, rng) => {
      for (const layer of layers(rng)) {
        const { recall } = codec.decode(codec.encode(layer), layer);
        assert.equal(recall !== undefined, codec.recalls === true);
        if (recall === undefined) continue;
        assert.ok(Number.isInteger(recall.budgetRows) && recall.budgetRows > 0);
        assert.equal(recall.cluster_n.length, layer.position_n.length);
        for (let k = 0; k < layer.numKvHeads; k++) {
          const own = recall.cluster_n.subarray(layer.offset[k], layer.offset[k + 1]);
          assert.ok(
            own.every((cluster) => cluster <= own.length),
            `a cluster of head ${k} that its rows cannot fill`,
          );
        }
      }
    }),
    check("gives the same bytes for the same layer and leaves it as it was", (codec, rng) => {
      for (const layer of layers(rng)) {
        const before = structuredClone(layer);
        const first = encodeLayer(codec, layer);
        assert.deepEqual(encodeLayer(codec, layer), first);
        assert.deepEqual(encodeLayer(createDefault(factory), layer), first);
        assert.deepEqual(layer, before);
      }
    }),
    check("refuses a missing, an extra, a re-typed and a re-shaped tensor", (codec, rng) => {
      const layer = encodable(rng, makeRaggedLayer(rng, { numKvHeads: 2, seqLen: 20, headDim: 8 }));
      const tensors = codec.encode(layer);
      for (const [name, tensor] of tensors) {
        const without = new Map(tensors);
        without.delete(name);
        assertCorrupt(() => codec.decode(without, layer), `no "${name}"`);
        const retyped: NamedTensor = { ...tensor, dtype: tensor.dtype === "I8" ? "U8" : "I8" };
        assertCorrupt(() => codec.decode(new Map([...tensors, [name, retyped]]), layer), `${retyped.dtype} "${name}"`);
        const reshaped: NamedTensor = { ...tensor, shape: [...tensor.shape].reverse().concat(1) };
        assertCorrupt(() => codec.decode(new Map([...tensors, [name, reshaped]]), layer), `another shape of "${name}"`);
      }
      const extra: NamedTensor = { dtype: "U8", shape: [0], data: new Uint8Array(0) };
      assertCorrupt(() => codec.decode(new Map([...tensors, ["extra", extra]]), layer), "an extra tensor");
    }),
    check("refuses a layer without what it needs", (codec, rng) => {
      const inputs = { rope: "ropeFrequencies", scores: "score_n" } as const satisfies Record<CodecNeed, keyof EncodableLayer>;
      for (const layer of layers(rng)) {
        for (const need of codec.needs ?? []) {
          const { [inputs[need]]: _, ...without } = layer;
          assert.throws(() => codec.encode(without), RangeError, `accepted no ${need}`);
        }
        const needed: EncodableLayer = { ...layer };
        for (const [need, input] of Object.entries(inputs))
          if (!codec.needs?.has(need as CodecNeed)) Reflect.deleteProperty(needed, input);
        assert.deepEqual(codec.encode(needed), codec.encode(layer));
      }
    }),
    check("refuses a part with any bit of its header flipped", (codec, rng) => {
      const shape = { numKvHeads: 2, seqLen: 12, headDim: 5 };
      const [part] = encodeLayer(codec, encodable(rng, makeRaggedLayer(rng, shape)));
      const headerBits = 8 * (8 + Number(new DataView(part.buffer).getBigUint64(0, true)));
      for (let bit = 0; bit < headerBits; bit++) {
        part[bit >> 3] ^= 1 << (bit & 7);
        assertCorrupt(() => decodeParts(codec, [part], shape), `header bit ${bit} flipped`);
        part[bit >> 3] ^= 1 << (bit & 7);
      }
    }),
    check("comes back the same from several parts as from one, none above the limit", (codec, rng) => {
      const shape = { numKvHeads: 4, seqLen: 300, headDim: 16 };
      const layer = encodable(rng, makeRaggedLayer(rng, shape));
      const limit = 12_000;
      const parts = encodeLayer(codec, layer, limit);
      assert.ok(parts.length > 1 && parts.every((part) => part.byteLength <= limit));
      const whole = decodeParts(codec, encodeLayer(codec, layer), shape);
      assertClose(whole.key_nD, layer.key_nD, codec.maxRelativeError);
      const joined = decodeParts(codec, parts, shape);
      assert.deepEqual(joined.offset, layer.offset);
      assert.deepEqual(joined.position_n, layer.position_n);
      assertClose(joined.key_nD, layer.key_nD, codec.maxRelativeError);
      assertClose(joined.value_nD, layer.value_nD, codec.maxRelativeError);
    }),
  ];
}

/** Random layers of every size at four magnitudes, one with an empty row, one with no rows. */
function* layers(rng: Rng): Generator<EncodableLayer> {
  for (const layer of raggedLayers(rng)) yield encodable(rng, layer);
}

/** A layer with everything a codec may ask for. */
function encodable(rng: Rng, layer: RaggedLayerKv): EncodableLayer {
  const { headDim, position_n } = layer;
  return {
    ...layer,
    ropeFrequencies: Float64Array.from({ length: headDim >> 1 }, (_, i) => 10_000 ** ((-2 * i) / headDim)),
    score_n: Float32Array.from({ length: position_n.length }, () => rng.next()),
  };
}

function* raggedLayers(rng: Rng): Generator<RaggedLayerKv> {
  for (const [numKvHeads, seqLen, headDim] of SIZES) {
    for (const magnitude of [1e-8, 1e-3, 1, 1e3]) {
      const layer = makeRaggedLayer(rng, { numKvHeads, seqLen, headDim });
      for (let i = 0; i < layer.key_nD.length; i++) layer.key_nD[i] *= magnitude;
      yield layer;
    }
  }
  const { key_KSD, value_KSD, headDim } = makeDenseLayer(rng, { numKvHeads: 1, seqLen: 3, headDim: 4 });
  const position_n = Uint32Array.of(0, 5, 9);
  yield { numKvHeads: 2, headDim, offset: Uint32Array.of(0, 0, 3), position_n, key_nD: key_KSD, value_nD: value_KSD };
  const none = new Float32Array(0);
  yield { numKvHeads: 2, headDim, offset: new Uint32Array(3), position_n: new Uint32Array(0), key_nD: none, value_nD: none };
}

function assertClose(found: Float32Array, expected: Float32Array, maxRelativeError: number): void {
  assert.equal(found.length, expected.length);
  let magnitude = 0;
  for (const x of expected) magnitude = Math.max(magnitude, Math.abs(x));
  const bound = maxRelativeError === 0 ? 0 : maxRelativeError * magnitude + 2 ** -25;
  for (let i = 0; i < expected.length; i++) {
    assert.ok(Math.abs(found[i] - expected[i]) <= bound, `value ${i}: ${expected[i]} came back as ${found[i]}, bound ${bound}`);
  }
}
