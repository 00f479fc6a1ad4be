/**
 * KVzip+'s score (as NVIDIA/kvpress has it): the attention a position receives while the model
 * repeats the context, times the length of what its value then adds to the residual stream,
 * over the length of the hidden state that asks:
 *
 *   score[k, j] = max over query heads h of the group and rows t of  a[h, t, j] · ‖W_O^(h) v_j‖ / ‖x_t‖
 *
 * with x the normed hidden state that enters attention. ‖W_O^(h) v‖² = vᵀ·(W_O^(h)ᵀ W_O^(h))·v, so
 * no row of M values is made per position; the `[D, D]` products depend on weights alone and are
 * folded when the session is loaded. Cost beside {@link repeatAttention}: `H·C·D²` multiply-adds
 * a run.
 *
 * @module
 */
import { byHead, type Observer } from "./observer.ts";
import { repeatObserver } from "./repeat-attention.ts";

/** Inputs and outputs of {@link repeatAttention}. */
export const repeatContribution: Observer = repeatObserver((graph, config, { hidden, pastValue, project }, rows) => {
  const { numKvHeads: K, numQueryHeads: H, headDim: D } = config;
  const G = H / K;
  const identity = graph.node("EyeLike", [graph.node("ConstantOfShape", [graph.ints(H * D, H * D)])], { dtype: 1 });
  const columns_HDM = graph.reshape(project(identity), H, D, -1);
  const gram = graph.reshape(graph.matMulTransposed(columns_HDM, columns_HDM, 1), K, G, D, D);
  const v = graph.node("Unsqueeze", [byHead(graph, config, rows.chunkOf(pastValue)), graph.ints(1)]); // [K, 1, C, D]
  const squares = graph.node("Mul", [graph.matMul(v, gram), v]); // [K, G, C, D]
  const sum = graph.node("ReduceSum", [squares, graph.ints(-1)], { keepdims: 0 });
  const added = graph.node("Unsqueeze", [graph.node("Sqrt", [graph.node("Relu", [sum])]), graph.ints(2)]); // [K, G, 1, C]
  const asking = graph.node("ReduceL2", [hidden, graph.ints(-1)], { keepdims: 1 }); // [1, T, 1]
  const onChunk = graph.node("Slice", [rows.attention, rows.scoreStart, rows.scoreEnd, graph.ints(2)]);
  const tokens = graph.node("Shape", [hidden], { start: 1, end: 2 });
  const shape = graph.concat([graph.ints(K, G), tokens, graph.ints(-1)], 0);
  const byToken = graph.node("Reshape", [onChunk, shape]); // [K, G, T, C]
  const weighed = graph.node("Div", [graph.node("Mul", [byToken, added]), asking]);
  return graph.node("ReduceMax", [weighed, graph.ints(1, 2)], { keepdims: 0 });
});
