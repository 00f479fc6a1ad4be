/**
 * KVSharer's search (arXiv:2410.18517): which layers may read another layer's keys and values.
 *
 * Caches of short pieces of text are averaged; pairs of layers are tried from the most unlike to
 * the least (the paper's surprising point), "layer i reads layer j", j < i, and kept while the
 * mean cosine between the output with sharing and without stays above 0.5, until four layers
 * share. The authors compare the last hidden states of the piece itself; we compare the logits
 * after a question on it, since sharing here happens in a stored cache.
 *
 * @module
 */
import type { DenseLayerKv } from "@kvault/core";
import { globalLayers } from "@kvault/model";
import type { ModelRunner, RunOptions } from "../model-runner.ts";
import { fullLayer, residentContext } from "../resident-context.ts";

/** Tokens of a piece, and pieces in all. */
const PIECE_TOKENS = 64;
const PIECES = 30;
/** Pieces that a candidate is tried on. */
const TRIED_PIECES = 4;
const MAX_SHARED = 4;
const LOWEST_COSINE = 0.5;
const QUESTION = "\nWhat is this about?";

/** For every global layer the index of the one whose keys and values it reads. */
export async function searchLayerMap(runner: ModelRunner, texts: readonly string[], options: RunOptions): Promise<Float32Array> {
  const layers = globalLayers(runner.config);
  const pieces = await readPieces(runner, texts, options);
  const identity = layers.map((_, l) => l);
  const tried = pieces.filter((_, i) => i % Math.ceil(pieces.length / TRIED_PIECES) === 0);
  const wanted = await Promise.all(tried.map((piece) => logitsWith(runner, piece, identity)));
  const map = [...identity];
  for (const { reader, source } of byDistance(pieces, layers)) {
    const shared = map.filter((from, l) => from !== l).length;
    if (shared >= MAX_SHARED) break;
    // No chains: neither end may be part of a pair already.
    if (map[reader] !== reader || map[source] !== source || map.includes(reader, reader + 1)) continue;
    const candidate = map.with(reader, source);
    let cosine = 0;
    for (const [i, piece] of tried.entries()) cosine += similarity(await logitsWith(runner, piece, candidate), wanted[i]);
    if (cosine / tried.length > LOWEST_COSINE) map[reader] = source;
  }
  return Float32Array.from(map);
}

interface Piece {
  readonly seqLen: number;
  /** All layers of the model. */
  readonly layers: readonly DenseLayerKv[];
}

async function readPieces(runner: ModelRunner, texts: readonly string[], { signal, betweenRuns }: RunOptions): Promise<Piece[]> {
  const pieces: Piece[] = [];
  const options = { ...(signal === undefined ? {} : { signal }), ...(betweenRuns === undefined ? {} : { betweenRuns }) };
  const perText = Math.ceil(PIECES / texts.length);
  for (const text of texts) {
    const { prefixIds, contextIds } = runner.prompts.context({ text });
    const stride = Math.max(PIECE_TOKENS, Math.floor(contextIds.length / perText));
    for (let i = 0; i < perText && i * stride + PIECE_TOKENS <= contextIds.length; i++) {
      const prompt = { prefixIds, contextIds: contextIds.slice(i * stride, i * stride + PIECE_TOKENS) };
      const context = await runner.prefill(prompt, options);
      const layers = Array.from({ length: runner.config.numLayers }, (_, layer) => context.layer(layer));
      pieces.push({ seqLen: context.seqLen, layers });
      context.release();
    }
  }
  return pieces;
}

/** Logits after {@link QUESTION} when layers read each other's keys and values by `map` (of global layers). */
async function logitsWith(runner: ModelRunner, { seqLen, layers }: Piece, map: readonly number[]): Promise<Float32Array> {
  const globals = globalLayers(runner.config);
  const sourceOf = new Map(globals.map((layer, l) => [layer, globals[map[l]]]));
  const resident = residentContext(
    seqLen,
    layers.map((_, layer) => fullLayer(layers[sourceOf.get(layer) ?? layer])),
  );
  const batch = runner.openStepBatch(resident);
  try {
    const [logits_V] = await batch.run([{ sequence: batch.add(), ids: Array.from(runner.prompts.question(QUESTION)) }]);
    return logits_V.slice();
  } finally {
    batch.close();
  }
}

/** Pairs of global layers, the most unlike first; ties by index. */
function byDistance(pieces: readonly Piece[], globals: readonly number[]): { reader: number; source: number }[] {
  const mean = globals.map((layer) => meanLayer(pieces.map((piece) => piece.layers[layer])));
  const pairs = globals.flatMap((_, reader) =>
    Array.from({ length: reader }, (_unused, source) => ({ reader, source, distance: distance(mean[reader], mean[source]) })),
  );
  return pairs.sort((a, b) => b.distance - a.distance || a.reader - b.reader || a.source - b.source);
}

interface MeanLayer {
  readonly headDim: number;
  readonly keys: Float32Array;
  readonly values: Float32Array;
}

function meanLayer(layers: readonly DenseLayerKv[]): MeanLayer {
  const { headDim, key_KSD } = layers[0];
  const keys = new Float32Array(key_KSD.length);
  const values = new Float32Array(key_KSD.length);
  for (const layer of layers) {
    for (let i = 0; i < keys.length; i++) {
      keys[i] += layer.key_KSD[i] / layers.length;
      values[i] += layer.value_KSD[i] / layers.length;
    }
  }
  return { headDim, keys, values };
}

/** Mean over tokens and heads of the norm of the difference, averaged over keys and values. */
function distance(a: MeanLayer, b: MeanLayer): number {
  const rows = a.keys.length / a.headDim;
  let sum = 0;
  for (const [x, y] of [
    [a.keys, b.keys],
    [a.values, b.values],
  ] as const) {
    for (let row = 0; row < rows; row++) {
      let square = 0;
      for (let i = row * a.headDim; i < (row + 1) * a.headDim; i++) square += (x[i] - y[i]) ** 2;
      sum += Math.sqrt(square) / rows / 2;
    }
  }
  return sum;
}

function similarity(a: Float32Array, b: Float32Array): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    dot += a[i] * b[i];
    aa += a[i] ** 2;
    bb += b[i] ** 2;
  }
  return dot / Math.sqrt(aa * bb);
}
