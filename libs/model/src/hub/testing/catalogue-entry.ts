/**
 * A catalogue entry for tests, of a small made-up file.
 *
 * @module
 */
import { createRng, sha256Hex } from "@kvault/core";
import type { CatalogueEntry } from "../catalogue.ts";

/** What the entry's file holds: 200,000 bytes that look random. */
export const MODEL_BYTES: Uint8Array = madeUpBytes(200_000);

export function catalogueEntry(change: Partial<CatalogueEntry> = {}): CatalogueEntry {
  const sha256 = sha256Hex(MODEL_BYTES);
  return {
    name: "tiny",
    fileName: "tiny.gguf",
    sha256,
    bytes: MODEL_BYTES.byteLength,
    licence: "CC0-1.0",
    config: {
      architecture: "llama",
      numLayers: 1,
      hiddenSize: 8,
      ffnSize: 8,
      numQueryHeads: 1,
      numKvHeads: 1,
      headDim: 8,
      vocabSize: 8,
      maxTokens: 8,
      rmsEpsilon: 1e-6,
      ropeTheta: 10_000,
    },
    identity: { weightsSha256: sha256, tokenizerSha256: sha256, templateSha256: sha256, rope: "rope(theta=10000,dim=8)" },
    sources: [{ type: "huggingface", repo: "someone/tiny", file: "tiny.gguf", revision: "main" }],
    ...change,
  };
}

function madeUpBytes(count: number): Uint8Array {
  const rng = createRng(1);
  return Uint8Array.from({ length: count }, () => rng.below(256));
}
