/**
 * The slow, obvious forward pass of every family's decoder, from the weights alone: the oracle
 * that graphs are checked against. Weights take the values the graphs compute with (libs/model
 * quant/matmul-nbits.ts, a hair off the file's for some types), sums are in f64, attention is
 * written as the definition says, and every context pair may be masked per layer and head.
 *
 * Cost: about 0.3 s a token for 135M parameters; use a handful of tokens.
 *
 * @module
 */
import type { DenseLayerKv } from "@kvault/core";
import {
  dequantise,
  fromMatMulNBits,
  halfSplitRowOrder,
  type ModelConfig,
  reorderRows,
  toMatMulNBits,
  type WeightSource,
} from "@kvault/model";

export interface ReferenceInput {
  readonly ids: readonly number[];
  /** Position of the first of `ids`. */
  readonly firstPosition: number;
  /** Cached context by layer, or none. */
  readonly context?: readonly DenseLayerKv[];
  /** False hides context position `s` from KV head `k` of layer `l`. */
  readonly visible?: (layer: number, kvHead: number, position: number) => boolean;
}

/** Logits `[V]` after the last id. */
export async function referenceLogits(source: WeightSource, config: ModelConfig, input: ReferenceInput): Promise<Float64Array> {
  const { hiddenSize: M, numQueryHeads, numKvHeads, headDim: D, rmsEpsilon } = config;
  const T = input.ids.length;
  const group = numQueryHeads / numKvHeads;
  const weight = async (name: string, permuted = false): Promise<Float32Array> => {
    const { type, shape } = source.tensors.get(name) as { type: string; shape: readonly number[] };
    const [columns, rows] = shape as [number, number?];
    const bytes = await source.readTensor(name);
    if (rows === undefined) return dequantise(type, bytes);
    const ordered = permuted ? reorderRows(bytes, halfSplitRowOrder(rows / D, D)) : bytes;
    return fromMatMulNBits(toMatMulNBits(type, ordered, columns, rows));
  };
  const interleaved = config.architecture === "llama" && source.interleavedRows;
  const isGemma = config.architecture === "gemma3";
  const activate = isGemma ? gelu : silu;
  const attentionScale = config.attentionScale ?? 1 / Math.sqrt(D);
  const embedding = await weight("token_embd.weight");
  const embeddingScale = isGemma ? Math.sqrt(M) : 1;
  let x: Float64Array[] = input.ids.map((id) =>
    Float64Array.from(embedding.subarray(id * M, (id + 1) * M), (value) => value * embeddingScale),
  );

  const project = async (rows: Float64Array[], name: string, permuted = false): Promise<Float64Array[]> => {
    const matrix = await weight(`${name}.weight`, permuted);
    const bias = source.tensors.has(`${name}.bias`) ? await weight(`${name}.bias`) : undefined;
    return rows.map((row) => multiply(matrix, row, bias));
  };

  /** RMS norm of a row, or of every head of it; nothing where the model has no such weight. */
  const normIfThere = async (rows: Float64Array[], name: string, size?: number): Promise<Float64Array[]> => {
    if (!source.tensors.has(name)) return rows;
    const norm = rmsNorm(await weight(name), rmsEpsilon);
    return rows.map((row) => {
      const out = new Float64Array(row.length);
      const step = size ?? row.length;
      for (let at = 0; at < row.length; at += step) out.set(norm(row.subarray(at, at + step)), at);
      return out;
    });
  };

  for (let layer = 0; layer < config.numLayers; layer++) {
    const block = `blk.${layer}.`;
    const { slidingWindow } = config;
    const window = slidingWindow && !slidingWindow.globalLayers.includes(layer) ? slidingWindow : undefined;
    const n = x.map(rmsNorm(await weight(`${block}attn_norm.weight`), rmsEpsilon));
    const rotate = (row: Float64Array, t: number): Float64Array => {
      const factors = window === undefined ? config.ropeFactors : undefined;
      return rope(row, input.firstPosition + t, D, window?.ropeTheta ?? config.ropeTheta, factors);
    };
    const projected = async (name: string): Promise<Float64Array[]> =>
      normIfThere(await project(n, `${block}${name}`, interleaved), `${block}${name}_norm.weight`, D);
    const q = (await projected("attn_q")).map(rotate);
    const k = (await projected("attn_k")).map(rotate);
    const v = await project(n, `${block}attn_v`);
    const past = input.context?.[layer];
    const attended = q.map((row, t) => {
      const out = new Float64Array(numQueryHeads * D);
      for (let h = 0; h < numQueryHeads; h++) {
        const kvHead = Math.floor(h / group);
        const query = row.subarray(h * D, (h + 1) * D);
        const keys: ArrayLike<number>[] = [];
        const values: ArrayLike<number>[] = [];
        for (let s = 0; past !== undefined && s < past.seqLen; s++) {
          if (input.visible?.(layer, kvHead, s) === false) continue;
          if (window !== undefined && input.firstPosition + t - s >= window.tokens) continue;
          const at = (kvHead * past.seqLen + s) * D;
          keys.push(past.key_KSD.subarray(at, at + D));
          values.push(past.value_KSD.subarray(at, at + D));
        }
        for (let s = 0; s <= t; s++) {
          if (window !== undefined && t - s >= window.tokens) continue;
          keys.push((k[s] as Float64Array).subarray(kvHead * D, (kvHead + 1) * D));
          values.push((v[s] as Float64Array).subarray(kvHead * D, (kvHead + 1) * D));
        }
        out.set(attend(query, keys, values, D, attentionScale), h * D);
      }
      return out;
    });
    const o = await normIfThere(await project(attended, `${block}attn_output`), `${block}post_attention_norm.weight`);
    x = x.map((row, t) => addRows(row, o[t] as Float64Array));
    const m = x.map(rmsNorm(await weight(`${block}ffn_norm.weight`), rmsEpsilon));
    const gate = await project(m, `${block}ffn_gate`);
    const up = await project(m, `${block}ffn_up`);
    const inner = gate.map((row, t) => row.map((g, i) => activate(g) * ((up[t] as Float64Array)[i] as number)));
    const down = await normIfThere(await project(inner, `${block}ffn_down`), `${block}post_ffw_norm.weight`);
    x = x.map((row, t) => addRows(row, down[t] as Float64Array));
  }
  const last = rmsNorm(await weight("output_norm.weight"), rmsEpsilon)(x[T - 1] as Float64Array);
  return multiply(source.tensors.has("output.weight") ? await weight("output.weight") : embedding, last, undefined);
}

function multiply(matrix_NK: Float32Array, row_K: Float64Array, bias: Float32Array | undefined): Float64Array {
  const K = row_K.length;
  const out = new Float64Array(matrix_NK.length / K);
  for (let n = 0; n < out.length; n++) {
    let sum = bias === undefined ? 0 : bias[n];
    for (let k = 0; k < K; k++) sum += matrix_NK[n * K + k] * row_K[k];
    out[n] = sum;
  }
  return out;
}

function rmsNorm(weight: Float32Array, epsilon: number): (row: Float64Array) => Float64Array {
  return (row) => {
    let squares = 0;
    for (const value of row) squares += value * value;
    const scale = 1 / Math.sqrt(squares / row.length + epsilon);
    return row.map((value, i) => value * scale * weight[i]);
  };
}

/** Half-split rotation of every head of `row`. */
function rope(
  row: Float64Array,
  position: number,
  headDim: number,
  theta: number,
  factors: readonly number[] | undefined,
): Float64Array {
  const half = headDim / 2;
  const out = new Float64Array(row.length);
  for (let head = 0; head < row.length; head += headDim) {
    for (let i = 0; i < half; i++) {
      const angle = (position * theta ** ((-2 * i) / headDim)) / (factors?.[i] ?? 1);
      const [a, b] = [row[head + i], row[head + half + i]];
      out[head + i] = a * Math.cos(angle) - b * Math.sin(angle);
      out[head + half + i] = b * Math.cos(angle) + a * Math.sin(angle);
    }
  }
  return out;
}

function attend(
  query: Float64Array,
  keys: readonly ArrayLike<number>[],
  values: readonly ArrayLike<number>[],
  headDim: number,
  scale: number,
): Float64Array {
  const logits = keys.map((key) => {
    let sum = 0;
    for (let d = 0; d < headDim; d++) sum += query[d] * key[d];
    return sum * scale;
  });
  let highest = Number.NEGATIVE_INFINITY;
  for (const logit of logits) highest = Math.max(highest, logit);
  let total = 0;
  const out = new Float64Array(headDim);
  for (const [i, logit] of logits.entries()) {
    const p = Math.exp(logit - highest);
    total += p;
    for (let d = 0; d < headDim; d++) out[d] += p * values[i][d];
  }
  return out.map((value) => value / total);
}

function addRows(a: Float64Array, b: Float64Array): Float64Array {
  return a.map((value, i) => value + b[i]);
}

function silu(x: number): number {
  return x / (1 + Math.exp(-x));
}

/** The tanh form. */
function gelu(x: number): number {
  return 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}
