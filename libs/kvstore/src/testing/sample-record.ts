/**
 * Small, valid identities, manifests and records for tests that need one and do not care which.
 *
 * @module
 */
import { bytesOf, createRng, encodeF16, encodeSafetensors, rowLength } from "@kvault/core";
import { makeRaggedLayer } from "@kvault/core/testing";
import type { BlobStore } from "../blob-store.ts";
import { contentSha256 } from "../content-id.ts";
import type { ContextIdentity } from "../identity.ts";
import { contextDigest, contextIdOf, RECORD_FORMAT_VERSION } from "../identity.ts";
import type { ContextManifest, LayerManifest, PartRef } from "../manifest.ts";
import { createManifest } from "../manifest.ts";
import { openRecordWriter } from "../record-writer.ts";

/** An identity of `text`; `changes` replace fields. */
export function sampleIdentity(text: string, changes: Partial<ContextIdentity> = {}): ContextIdentity {
  return {
    weightsSha256: "1".repeat(64),
    tokenizerSha256: "2".repeat(64),
    templateSha256: "3".repeat(64),
    rope: "rope(theta=1000000,dim=64)",
    contentSha256: contentSha256({ text }),
    spec: "random(seed=1)|global|top-k(keep=0.5)|f16",
    formatVersion: RECORD_FORMAT_VERSION,
    tenantSalt: "",
    ...changes,
  };
}

const MODEL = { name: "sample", numLayers: 2, numKvHeads: 2, headDim: 4 } as const;
const TOKENS = 12;
const PREFIX_TOKENS = 2;

/** A part of real shape: `k`, `v` f16 `[n, D]`, `pos` u32 `[n]`, `offsets` u32 `[K + 1]`. */
export function samplePart(seed: number): { bytes: Uint8Array; headLengths: number[] } {
  const layer = makeRaggedLayer(createRng(seed), { ...MODEL, seqLen: TOKENS });
  const n = layer.position_n.length;
  const shape = [n, MODEL.headDim];
  const bytes = encodeSafetensors(
    new Map([
      ["k", { dtype: "F16", shape, data: bytesOf(encodeF16(layer.key_nD)) }],
      ["v", { dtype: "F16", shape, data: bytesOf(encodeF16(layer.value_nD)) }],
      ["pos", { dtype: "U32", shape: [n], data: bytesOf(layer.position_n) }],
      ["offsets", { dtype: "U32", shape: [MODEL.numKvHeads + 1], data: bytesOf(layer.offset) }],
    ]),
  );
  return { bytes, headLengths: [0, 1].map((k) => rowLength(layer, k)) };
}

/** A manifest of `identity` over `layers`. */
export function sampleManifest(
  identity: ContextIdentity,
  layers: readonly LayerManifest[],
  changes: { readonly createTimeMs?: number } = {},
): ContextManifest {
  return createManifest({
    identity,
    model: MODEL,
    prefixTokens: PREFIX_TOKENS,
    contextTokens: TOKENS - PREFIX_TOKENS,
    codec: "f16",
    layers,
    report: {
      keepRatio: 0.5,
      queryAgnostic: true,
      seconds: { queue: 0, load: 0.5, prefill: 2, score: 3, compress: 0.25, publish: 0.125 },
    },
    displayName: "Sample",
    labels: { team: "tests" },
    createTimeMs: changes.createTimeMs ?? 1_700_000_000_000,
    expireTimeMs: 0,
  });
}

/** Publishes a record of `text`; the parts differ by `seed`. */
export async function publishSample(store: BlobStore, text: string, seed = 1): Promise<ContextManifest> {
  const identity = sampleIdentity(text);
  const writer = openRecordWriter(store, contextIdOf(contextDigest(identity)));
  const layers: LayerManifest[] = [];
  for (let l = 0; l < MODEL.numLayers; l++) {
    const { bytes, headLengths } = samplePart(seed * 100 + l);
    const part: PartRef = await writer.putPart(bytes);
    layers.push({ parts: [part], headLengths });
  }
  return (await writer.commit(sampleManifest(identity, layers))).manifest;
}
