/**
 * The prefill graph: one chunk of a context with everything before it → the chunk's own new
 * keys and values and the logits of its last position. With `scoring`, also the repeat
 * pass's reduced score (KVzip, arXiv:2505.23416).
 *
 * Caches are token-major, `[1, P, K·D]`: the host appends a chunk by letting the outputs be
 * written behind what is there, without a copy. Attention is ONNX Runtime's grouped-query
 * operator on rotated queries and keys.
 *
 * The score of one layer, for a chunk of T repeat tokens: softmax of the T·G rows of every
 * KV head over the columns [sinks | scored chunk | repeat so far | these T, causal], then the
 * maximum over rows. Rows are independent and the maximum is associative, so the repeat may
 * be cut anywhere; the host takes the elementwise maximum over the cuts. Work arrays are
 * `K·G·T × columns` floats; choose T accordingly.
 *
 * @module
 */
import type { ModelFamily } from "../families/family.ts";
import type { ModelConfig } from "../types.ts";
import { GraphBuilder, MICROSOFT, type Value } from "./graph-builder.ts";
import type { Activations } from "./linear.ts";
import type { WeightsIndex } from "./weights-file.ts";

export interface PrefillGraphOptions {
  readonly weights: WeightsIndex;
  readonly weightsFileName: string;
  readonly activations: Activations;
  /** Add the repeat pass's inputs and `score.l` outputs, drop the logits. */
  readonly scoring: boolean;
}

/**
 * Inputs: `ids` `positions` [1,T] i64, `lastIndex` [1] i32 (P+T−1), `totalLength` [1] i32 (P+T),
 * per layer `pastKey.l` `pastValue.l` [1,P,K·D]. Outputs: `newKey.l` `newValue.l` [1,T,K·D],
 * `logits` [1,V].
 *
 * With scoring also inputs `sinkEnd` `chunkStart` `chunkEnd` `contextEnd` [1] i64 and
 * `causal` [T,T] f32 (0 or −∞-like), outputs `score.l` [K, chunkEnd − chunkStart].
 */
export function buildPrefillGraph(family: ModelFamily, config: ModelConfig, options: PrefillGraphOptions): Uint8Array {
  const graph = new GraphBuilder(options.weights, options.weightsFileName, options.activations);
  const { numKvHeads, numQueryHeads, headDim, vocabSize } = config;
  const kvSize = numKvHeads * headDim;
  const ids = graph.input("ids", "i64", [1, "T"]);
  const positions = graph.input("positions", "i64", [1, "T"]);
  const lastIndex = graph.input("lastIndex", "i32", [1]);
  const totalLength = graph.input("totalLength", "i32", [1]);
  const columns = options.scoring ? scoreColumns(graph) : undefined;

  const attend = (layer: number, q: Value, k: Value, v: Value): Value => {
    const newKey = graph.nodeWithOutputs("Identity", [k], [`newKey.${layer}`])[0] as Value;
    const newValue = graph.nodeWithOutputs("Identity", [v], [`newValue.${layer}`])[0] as Value;
    graph.output(newKey, "f32", [1, "T", kvSize]);
    graph.output(newValue, "f32", [1, "T", kvSize]);
    const pastKey = graph.input(`pastKey.${layer}`, "f32", [1, "P", kvSize]);
    const pastValue = graph.input(`pastValue.${layer}`, "f32", [1, "P", kvSize]);
    const headMajor = (past: Value): Value => graph.transpose(graph.reshape(past, 1, -1, numKvHeads, headDim), 0, 2, 1, 3);
    if (columns !== undefined) {
      const score = repeatScore(graph, config, columns, q, k, pastKey, `score.${layer}`);
      graph.output(score, "f32", [numKvHeads, "C"]);
    }
    const [out] = graph.nodeWithOutputs(
      "GroupQueryAttention",
      [q, k, v, headMajor(pastKey), headMajor(pastValue), lastIndex, totalLength],
      [`attention.${layer}`, `presentKey.${layer}`, `presentValue.${layer}`],
      { num_heads: numQueryHeads, kv_num_heads: numKvHeads, do_rotary: 0 },
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

interface ScoreColumns {
  readonly sinkEnd: Value;
  readonly chunkStart: Value;
  readonly chunkEnd: Value;
  readonly contextEnd: Value;
  readonly scoreEnd: Value;
  readonly causal: Value;
}

function scoreColumns(graph: GraphBuilder): ScoreColumns {
  const [sinkEnd, chunkStart, chunkEnd, contextEnd] = ["sinkEnd", "chunkStart", "chunkEnd", "contextEnd"].map((name) =>
    graph.input(name, "i64", [1]),
  ) as [Value, Value, Value, Value];
  const causal = graph.input("causal", "f32", ["T", "T"]);
  const scoreEnd = graph.add(sinkEnd, graph.node("Sub", [chunkEnd, chunkStart]));
  return { sinkEnd, chunkStart, chunkEnd, contextEnd, scoreEnd, causal };
}

/** The reduced score of one layer; see the module comment. `q [1,T,H·D]`, `k [1,T,K·D]`, `pastKey [1,P,K·D]`. */
function repeatScore(
  graph: GraphBuilder,
  config: ModelConfig,
  columns: ScoreColumns,
  q: Value,
  k: Value,
  pastKey: Value,
  name: string,
): Value {
  const { numKvHeads, numQueryHeads, headDim } = config;
  const groupSize = numQueryHeads / numKvHeads;
  const scale = 1 / Math.sqrt(headDim);
  const tokenAxis = graph.ints(1);
  const slice = (start: Value, end: Value): Value => graph.node("Slice", [pastKey, start, end, tokenAxis]);
  const toHeads = (keys: Value): Value => graph.transpose(graph.reshape(keys, -1, numKvHeads, headDim), 1, 0, 2); // [K, columns, D]
  const seen = graph.concat(
    [
      slice(graph.ints(0), columns.sinkEnd),
      slice(columns.chunkStart, columns.chunkEnd),
      slice(columns.contextEnd, graph.ints(Number.MAX_SAFE_INTEGER)),
    ],
    1,
  );
  const q_KRD = graph.reshape(
    graph.transpose(graph.reshape(q, -1, numKvHeads, groupSize, headDim), 1, 2, 0, 3),
    numKvHeads,
    -1,
    headDim,
  ); // rows are g·T + t
  const seenLogits = graph.matMulTransposed(q_KRD, toHeads(seen), scale); // [K, G·T, seen]
  const ownLogits = graph.matMulTransposed(q_KRD, toHeads(k), scale); // [K, G·T, T]
  const tokens = graph.node("Shape", [columns.causal], { start: 0, end: 1 });
  const grouped = graph.node("Reshape", [ownLogits, graph.concat([graph.ints(numKvHeads, groupSize), tokens, tokens], 0)]);
  const masked = graph.node("Reshape", [
    graph.add(grouped, columns.causal),
    graph.concat([graph.ints(numKvHeads, -1), tokens], 0),
  ]);
  const attention = graph.node("Softmax", [graph.concat([seenLogits, masked], 2)], { axis: -1 });
  const most = graph.node("ReduceMax", [attention, graph.ints(1)], { keepdims: 0 }); // [K, columns]
  return graph.nodeWithOutputs("Slice", [most, columns.sinkEnd, columns.scoreEnd, graph.ints(1)], [name])[0] as Value;
}
