/**
 * What a prefill graph may tell besides keys and values: one file per observer, reduced
 * inside the graph so that nothing of size context × context leaves it.
 *
 * @module
 */
import type { ModelConfig } from "../../types.ts";
import type { GraphBuilder, Value } from "../graph-builder.ts";

/** One layer of a chunk of T tokens with P before it; windowed layers are not observed. */
export interface ObservedLayer {
  readonly layer: number;
  /** Rotated queries `[1, T, H·D]`. */
  readonly q: Value;
  /** Rotated keys `[1, T, K·D]`. */
  readonly k: Value;
  /** Normed hidden state that entered attention, `[1, T, M]`. */
  readonly hidden: Value;
  /** Rotated keys of what came before, `[1, P, K·D]`. */
  readonly pastKey: Value;
  /** Their values. */
  readonly pastValue: Value;
  /** The output projection, `[.., H·D]` → `[.., M]`. */
  project(attended: Value): Value;
}

/** Declares inputs shared by all layers, then writes each layer's nodes and outputs. */
export type Observer = (graph: GraphBuilder, config: ModelConfig) => (layer: ObservedLayer) => void;

/** Queries `[1, T, H·D]` as `[K, G·T, D]`: rows are g·T + t. */
function queryRows(graph: GraphBuilder, { numKvHeads, numQueryHeads, headDim }: ModelConfig, q: Value): Value {
  const grouped = graph.reshape(q, -1, numKvHeads, numQueryHeads / numKvHeads, headDim);
  return graph.reshape(graph.transpose(grouped, 1, 2, 0, 3), numKvHeads, -1, headDim);
}

/** Keys or values `[1, columns, K·D]` as `[K, columns, D]`. */
export function byHead(graph: GraphBuilder, { numKvHeads, headDim }: ModelConfig, rows: Value): Value {
  return graph.transpose(graph.reshape(rows, -1, numKvHeads, headDim), 1, 0, 2);
}

/**
 * Softmax attention `[K, G·T, seen + T]` of a chunk's rows over `seen` keys `[1, seen, K·D]`,
 * all visible, and its own keys, causal by `causal` `[T, T]` (0, or a large negative number).
 */
export function observedAttention(
  graph: GraphBuilder,
  config: ModelConfig,
  { q, k }: Pick<ObservedLayer, "q" | "k">,
  seen: Value,
  causal: Value,
): Value {
  const { numKvHeads, numQueryHeads, headDim } = config;
  const scale = 1 / Math.sqrt(headDim);
  const q_KRD = queryRows(graph, config, q);
  const seenLogits = graph.matMulTransposed(q_KRD, byHead(graph, config, seen), scale); // [K, G·T, seen]
  const ownLogits = graph.matMulTransposed(q_KRD, byHead(graph, config, k), scale); // [K, G·T, T]
  const tokens = graph.node("Shape", [causal], { start: 0, end: 1 });
  const groups = graph.ints(numKvHeads, numQueryHeads / numKvHeads);
  const grouped = graph.node("Reshape", [ownLogits, graph.concat([groups, tokens, tokens], 0)]); // [K, G, T, T]
  const rows = graph.concat([graph.ints(numKvHeads, -1), tokens], 0);
  const masked = graph.node("Reshape", [graph.add(grouped, causal), rows]);
  return graph.node("Softmax", [graph.concat([seenLogits, masked], 2)], { axis: -1 });
}
