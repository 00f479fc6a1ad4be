/**
 * Which pairs a stored record kept: per layer and KV head counted over bins of positions and, where
 * the text comes along, over its pieces. Reads positions from the store, so nothing becomes
 * resident and nothing is evicted; one layer is in memory at a time.
 *
 * Cost: reading and decoding the record once, then one pass over its positions. Answers are
 * bounded: at most {@link MAX_CELLS} counts and {@link MAX_PIECES} pieces of text, whatever the
 * model and the context.
 *
 * @module
 */
import { invalidArgument, KvaultError, throwIfAborted } from "@kvault/core";
import type { BlobStore, ContextManifest, KeyRing } from "@kvault/kvstore";
import { readManifest } from "@kvault/kvstore";
import type { TokenDecoder } from "@kvault/model";
import { yieldToEventLoop } from "../event-loop.ts";
import { createDetokeniser } from "../text/detokeniser.ts";
import type { ModelCache } from "./models.ts";
import { readLayer } from "./stored-context.ts";
import type { InspectContextRequest, KeptPairs, KeptText } from "./types.ts";

/** Counts of all rows together. */
const MAX_CELLS = 262_144;
/** Pieces of a text: longer ones have several tokens to a piece. */
const MAX_PIECES = 32_768;
/** A character of UTF-8 has at most so many bytes, and so many tokens. */
const MAX_CHARACTER_TOKENS = 4;

export interface InspectContextDeps {
  readonly store: BlobStore;
  readonly keys: Pick<KeyRing, "opener">;
  /** Only asked for a model when there is a text. */
  readonly models: Pick<ModelCache, "acquire">;
}

/**
 * CONTEXT_NOT_FOUND and CACHE_CORRUPT as for every read; INVALID_ARGUMENT for a layer or head that is not
 * there and for a text that is not the context's.
 */
export async function inspectContext(
  deps: InspectContextDeps,
  request: InspectContextRequest,
  signal: AbortSignal,
): Promise<KeptPairs> {
  const manifest = await findManifest(deps.store, request, signal);
  const { prefixTokens, contextTokens, nextPosition: positions, model } = manifest;
  const { numLayers, numKvHeads } = model;
  const maxBins = Math.max(1, Math.min(request.maxBins, Math.floor(MAX_CELLS / (numLayers * numKvHeads))));
  const binTokens = Math.ceil(positions / maxBins);
  const numBins = Math.ceil(positions / binTokens);
  const kept_LKB = new Uint32Array(numLayers * numKvHeads * numBins);
  const kept_S = new Uint32Array(positions);
  const open = await deps.keys.opener(manifest, { signal });
  for (let layer = 0; layer < numLayers; layer++) {
    throwIfAborted(signal);
    const { offset, position_n } = await readLayer(deps.store, manifest, open, layer, signal);
    for (let kvHead = 0; kvHead < numKvHeads; kvHead++) {
      const kept_n = position_n.subarray(offset[kvHead], offset[kvHead + 1]);
      const base = (layer * numKvHeads + kvHead) * numBins;
      for (let n = 0; n < kept_n.length; n++) kept_LKB[base + Math.floor(kept_n[n] / binTokens)]++;
      if (isCounted(request, layer, kvHead)) for (let n = 0; n < kept_n.length; n++) kept_S[kept_n[n]]++;
    }
    await yieldToEventLoop();
  }
  const textRows = (request.layer === undefined ? numLayers : 1) * (request.kvHead === undefined ? numKvHeads : 1);
  const text = request.content === undefined ? [] : await readPieces(deps, request, manifest, kept_S, signal);
  return { prefixTokens, contextTokens, numLayers, numKvHeads, binTokens, numBins, kept_LKB, textRows, text };
}

function isCounted(request: InspectContextRequest, layer: number, kvHead: number): boolean {
  return (request.layer ?? layer) === layer && (request.kvHead ?? kvHead) === kvHead;
}

async function findManifest(store: BlobStore, request: InspectContextRequest, signal: AbortSignal): Promise<ContextManifest> {
  const { contextId, digest } = request;
  const manifest = await readManifest(store, contextId, { signal });
  if (manifest.digest !== digest) {
    throw new KvaultError("INCOMPATIBLE_MODEL", `Cannot inspect context "${contextId}": its digest differs`, {
      details: { contextId, field: "digest", expected: digest, found: manifest.digest },
    });
  }
  if (request.content !== undefined && request.contentSha256 !== manifest.identity.contentSha256) {
    throw invalidArgument("content", "Cannot show the text: it is not the one that this context was made of");
  }
  const { numLayers, numKvHeads } = manifest.model;
  for (const [field, value, count] of [
    ["layer", request.layer, numLayers],
    ["kv_head", request.kvHead, numKvHeads],
  ] as const) {
    if (value !== undefined && value >= count) {
      throw invalidArgument(field, `Cannot inspect ${field} ${value}: there are ${count}, counted from 0`, { found: value });
    }
  }
  return manifest;
}

/** The text's tokens as the model reads them, joined to whole characters, each with what is kept of it. */
async function readPieces(
  { models }: InspectContextDeps,
  { model, content }: InspectContextRequest,
  { contextId, identity, prefixTokens, contextTokens }: ContextManifest,
  kept_S: Uint32Array,
  signal: AbortSignal,
): Promise<KeptText[]> {
  const { runner, release } = await models.acquire(model, { signal });
  try {
    const { contextIds } = runner.prompts.context(content ?? { text: "" });
    // Same content, another count: it was another tokenizer.
    if (runner.identity.tokenizerSha256 !== identity.tokenizerSha256 || contextIds.length !== contextTokens) {
      throw new KvaultError("INCOMPATIBLE_MODEL", `Cannot show the text of context "${contextId}": tokenizerSha256 differs`, {
        details: { contextId, field: "tokenizerSha256" },
      });
    }
    return joinPieces(runner.tokens, contextIds, kept_S.subarray(prefixTokens));
  } finally {
    release();
  }
}

function joinPieces(tokens: Pick<TokenDecoder, "bytesOf">, ids: Int32Array, kept_n: Uint32Array): KeptText[] {
  const tokensPerPiece = Math.ceil(ids.length / MAX_PIECES);
  const detokeniser = createDetokeniser(tokens);
  const pieces: KeptText[] = [];
  let [text, count, keptPairs, bytes] = ["", 0, 0, 0];
  const end = (): void => {
    if (count > 0) pieces.push({ text, tokens: count, keptPairs });
    [text, count, keptPairs, bytes] = ["", 0, 0, 0];
  };
  for (let i = 0; i < ids.length; i++) {
    text += detokeniser.push(ids[i]);
    bytes += tokens.bytesOf(ids[i]).byteLength;
    count++;
    keptPairs += kept_n[i];
    // A character whose bytes are not all there yet holds the piece open.
    const isWhole = Buffer.byteLength(text) === bytes || count >= tokensPerPiece + MAX_CHARACTER_TOKENS;
    if (count >= tokensPerPiece && isWhole) end();
  }
  text += detokeniser.end();
  end();
  return pieces;
}
