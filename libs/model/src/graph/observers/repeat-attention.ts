/**
 * KVzip's score (arXiv:2505.23416), reduced: the most attention each position of a chunk
 * receives from T tokens of the model's repetition of it.
 *
 * Softmax of the T·G rows of every KV head over the columns [sinks | scored chunk | repeat so
 * far | these T, causal], then the maximum over rows. Rows are independent and the maximum is
 * associative, so the repeat may be cut anywhere; the host takes the elementwise maximum over
 * the cuts. Work arrays are `K·G·T × columns` floats; choose T accordingly.
 *
 * @module
 */
import type { Value } from "../graph-builder.ts";
import { type Observer, observedAttention } from "./observer.ts";

/**
 * Inputs: `sinkEnd` `chunkStart` `chunkEnd` `contextEnd` [1] i64 (positions in the past),
 * `causal` [T, T] f32. Outputs: `repeatAttention.l` [K, chunkEnd − chunkStart].
 */
export const repeatAttention: Observer = (graph, config) => {
  const bound = (name: string): Value => graph.input(name, "i64", [1]);
  const sinkEnd = bound("sinkEnd");
  const chunkStart = bound("chunkStart");
  const chunkEnd = bound("chunkEnd");
  const contextEnd = bound("contextEnd");
  const causal = graph.input("causal", "f32", ["T", "T"]);
  const scoreEnd = graph.add(sinkEnd, graph.node("Sub", [chunkEnd, chunkStart]));
  return ({ layer, q, k, pastKey }) => {
    const slice = (start: Value, end: Value): Value => graph.node("Slice", [pastKey, start, end, graph.ints(1)]);
    const sinks = slice(graph.ints(0), sinkEnd);
    const repeatSoFar = slice(contextEnd, graph.ints(Number.MAX_SAFE_INTEGER));
    const seen = graph.concat([sinks, slice(chunkStart, chunkEnd), repeatSoFar], 1);
    const attention = observedAttention(graph, config, { q, k }, seen, causal);
    const most = graph.node("ReduceMax", [attention, graph.ints(1)], { keepdims: 0 }); // [K, columns]
    const name = `repeatAttention.${layer}`;
    graph.nodeWithOutputs("Slice", [most, sinkEnd, scoreEnd, graph.ints(1)], [name]);
    graph.output(name, "f32", [config.numKvHeads, "C"]);
  };
};
