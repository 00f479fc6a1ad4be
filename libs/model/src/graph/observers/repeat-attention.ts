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
import type { ModelConfig } from "../../types.ts";
import type { GraphBuilder, Value } from "../graph-builder.ts";
import { type ObservedLayer, type Observer, observedAttention } from "./observer.ts";

/** One layer's attention of the repeat, before it is reduced. */
export interface RepeatRows {
  /** `[K, G·T, columns]`: sinks, the scored chunk, the repeat. */
  readonly attention: Value;
  /** Bounds of the chunk among the columns. */
  readonly scoreStart: Value;
  readonly scoreEnd: Value;
  /** Rows of the chunk of something token-major of the past. */
  chunkOf(past: Value): Value;
}

/**
 * Inputs: `sinkEnd` `chunkStart` `chunkEnd` `contextEnd` [1] i64 (positions in the past),
 * `causal` [T, T] f32. Outputs: `repeatAttention.l` [K, chunkEnd − chunkStart].
 */
export const repeatAttention: Observer = repeatObserver((graph, _config, _layer, { attention, scoreStart, scoreEnd }) => {
  const most = graph.node("ReduceMax", [attention, graph.ints(1)], { keepdims: 0 }); // [K, columns]
  return graph.node("Slice", [most, scoreStart, scoreEnd, graph.ints(1)]);
});

/** An observer with the inputs and outputs of {@link repeatAttention}; `reduce` gives a layer's `[K, chunk]`. */
export function repeatObserver(
  reduce: (graph: GraphBuilder, config: ModelConfig, layer: ObservedLayer, rows: RepeatRows) => Value,
): Observer {
  return (graph, config) => {
    const bound = (name: string): Value => graph.input(name, "i64", [1]);
    const sinkEnd = bound("sinkEnd");
    const chunkStart = bound("chunkStart");
    const chunkEnd = bound("chunkEnd");
    const contextEnd = bound("contextEnd");
    const causal = graph.input("causal", "f32", ["T", "T"]);
    const scoreEnd = graph.add(sinkEnd, graph.node("Sub", [chunkEnd, chunkStart]));
    return (observed) => {
      const slice = (past: Value, start: Value, end: Value): Value => graph.node("Slice", [past, start, end, graph.ints(1)]);
      const chunkOf = (past: Value): Value => slice(past, chunkStart, chunkEnd);
      const sinks = slice(observed.pastKey, graph.ints(0), sinkEnd);
      const repeatSoFar = slice(observed.pastKey, contextEnd, graph.ints(Number.MAX_SAFE_INTEGER));
      const seen = graph.concat([sinks, chunkOf(observed.pastKey), repeatSoFar], 1);
      const attention = observedAttention(graph, config, observed, seen, causal);
      const name = `repeatAttention.${observed.layer}`;
      const reduced = reduce(graph, config, observed, { attention, scoreStart: sinkEnd, scoreEnd, chunkOf });
      graph.nodeWithOutputs("Identity", [reduced], [name]);
      graph.output(name, "f32", [config.numKvHeads, "C"]);
    };
  };
}
