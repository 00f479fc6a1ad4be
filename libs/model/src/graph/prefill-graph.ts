/**
 * The prefill graph: one chunk of a context with everything before it → the chunk's own new
 * keys and values, the logits of its last position, and what an observer reports.
 *
 * Caches are token-major, `[1, P, K·D]`: the host appends a chunk by letting the outputs be
 * written behind what is there, without a copy. Attention is ONNX Runtime's grouped-query
 * operator on rotated queries and keys. A windowed layer is given the part of the past that it
 * sees, with lengths of its own; observers look at the other layers only.
 *
 * @module
 */
import type { AttentionTensors, ModelFamily } from "../families/family.ts";
import { windowOf } from "../rope.ts";
import type { ModelConfig } from "../types.ts";
import { type Activations, GraphBuilder, MICROSOFT, type Value } from "./graph-builder.ts";
import type { Observer } from "./observers/observer.ts";
import type { WeightsIndex } from "./weights-file.ts";

export interface PrefillGraphOptions {
  readonly weights: WeightsIndex;
  readonly weightsFileName: string;
  readonly activations: Activations;
  /** See every layer's queries and keys and add inputs and outputs of their own. */
  readonly observers: readonly Observer[];
}

/**
 * Inputs: `ids` `positions` [1,T] i64, `lastIndex` [1] i32 (P+T−1), `totalLength` [1] i32 (P+T),
 * per layer `pastKey.l` `pastValue.l` [1,P,K·D]; where layers are windowed `windowLastIndex`
 * `windowTotalLength` and [1,W,K·D] for those layers, W the latest min(P, window − 1). Outputs: `newKey.l` `newValue.l` [1,T,K·D],
 * `logits` [1,V]; and the observers'.
 */
export function buildPrefillGraph(family: ModelFamily, config: ModelConfig, options: PrefillGraphOptions): Uint8Array {
  const graph = new GraphBuilder(options.weights, options.weightsFileName, options.activations);
  const { numKvHeads, numQueryHeads, headDim, vocabSize } = config;
  const kvSize = numKvHeads * headDim;
  const ids = graph.input("ids", "i64", [1, "T"]);
  const positions = graph.input("positions", "i64", [1, "T"]);
  const lastIndex = graph.input("lastIndex", "i32", [1]);
  const totalLength = graph.input("totalLength", "i32", [1]);
  const windowed =
    config.slidingWindow === undefined
      ? []
      : [graph.input("windowLastIndex", "i32", [1]), graph.input("windowTotalLength", "i32", [1])];
  const observers = options.observers.map((observer) => observer(graph, config));

  const attend = (layer: number, { q, k, v, hidden, project }: AttentionTensors): Value => {
    const newKey = graph.nodeWithOutputs("Identity", [k], [`newKey.${layer}`])[0] as Value;
    const newValue = graph.nodeWithOutputs("Identity", [v], [`newValue.${layer}`])[0] as Value;
    graph.output(newKey, "f32", [1, "T", kvSize]);
    graph.output(newValue, "f32", [1, "T", kvSize]);
    const window = windowOf(config, layer);
    const past = window === undefined ? "P" : "W";
    const pastKey = graph.input(`pastKey.${layer}`, "f32", [1, past, kvSize]);
    const pastValue = graph.input(`pastValue.${layer}`, "f32", [1, past, kvSize]);
    const headMajor = (past: Value): Value => graph.transpose(graph.reshape(past, 1, -1, numKvHeads, headDim), 0, 2, 1, 3);
    if (window === undefined) for (const observe of observers) observe({ layer, q, k, hidden, pastKey, pastValue, project });
    const [out] = graph.nodeWithOutputs(
      "GroupQueryAttention",
      [q, k, v, headMajor(pastKey), headMajor(pastValue), ...(window === undefined ? [lastIndex, totalLength] : windowed)],
      [`attention.${layer}`, `presentKey.${layer}`, `presentValue.${layer}`],
      { num_heads: numQueryHeads, kv_num_heads: numKvHeads, do_rotary: 0, local_window_size: window ?? -1 },
      MICROSOFT,
    );
    return out as Value;
  };
  const selectRows = (hidden: Value): Value => graph.node("Gather", [hidden, graph.scalarInt(-1)], { axis: 1 });
  const logits = family.build(graph, config, { ids, positions, attend, selectRows });
  graph.nodeWithOutputs("Identity", [logits], ["logits"]);
  graph.output("logits", "f32", [1, vocabSize]);
  return graph.toBytes();
}
