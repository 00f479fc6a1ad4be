/**
 * The step graph: B sequences × T new tokens on one shared ragged context → the new tokens'
 * keys and values and one row of logits per sequence. T=1 decodes, T>1 reads a question.
 *
 * Per layer and KV head, all B·G·T query rows meet the context's keys in one product
 * `[B·G·T, D] × [D, N]` (the context is read once for the whole batch), each sequence's own
 * suffix in batched products, and one softmax spans both, so the result is that of attention
 * over the concatenation. Nothing of the context is an output.
 *
 * `suffixMask` `[B, 1, T, S+T]` adds 0 where a new token sees a column of its sequence's
 * suffix slots (S) or of the new tokens (T), and a large negative number elsewhere: it carries
 * suffix lengths, padding and causality. Windowed layers have masks of their own, for the
 * context too: `windowSuffixMask`, and `windowContextMask` over the latest tokens they hold.
 *
 * With `recalls`, layers after the first two read of the context what each query recalls
 * (recall.ts); everything else is the same.
 *
 * @module
 */
import type { AttentionTensors, ModelFamily } from "../families/family.ts";
import { windowOf } from "../rope.ts";
import type { ModelConfig } from "../types.ts";
import { type Activations, GraphBuilder, type Value } from "./graph-builder.ts";
import { recallRows, recallsLayer } from "./recall.ts";
import type { WeightsIndex } from "./weights-file.ts";

export interface StepGraphOptions {
  readonly weights: WeightsIndex;
  readonly weightsFileName: string;
  readonly activations: Activations;
  /** The context's rows are in clusters; not for models with windowed layers. */
  readonly recalls?: boolean;
}

/**
 * Inputs: `ids` `positions` [B,T] i64, `lastRow` [B] i64 (row of B·T whose logits are wanted),
 * `suffixMask` [B,1,T,S+T] f32, `suffixSplit` [2] i64 (S, T); per layer l and KV head k
 * `contextKey.l.k` [D,N] (transposed), `contextValue.l.k` [N,D], `suffixKey.l.k`
 * `suffixValue.l.k` [B,S,D], `split.l.k` [2] i64 (S+T, N). Where layers are windowed
 * `windowSuffixMask` [B,1,T,S+T] and `windowContextMask` [B,1,T,N of every windowed layer] f32.
 * With `recalls` the inputs of a recalling layer's heads are those of {@link recallRows}, N in `split` being M.
 * Outputs: `newKey.l` `newValue.l` [B,T,K·D], `logits` [B,V].
 */
export function buildStepGraph(family: ModelFamily, config: ModelConfig, options: StepGraphOptions): Uint8Array {
  const graph = new GraphBuilder(options.weights, options.weightsFileName, options.activations);
  const { numKvHeads, numQueryHeads, headDim, hiddenSize, vocabSize } = config;
  const kvSize = numKvHeads * headDim;
  const groupSize = numQueryHeads / numKvHeads;
  const scale = 1 / Math.sqrt(headDim);
  const ids = graph.input("ids", "i64", ["B", "T"]);
  const positions = graph.input("positions", "i64", ["B", "T"]);
  const lastRow = graph.input("lastRow", "i64", ["B"]);
  const suffixMask = graph.input("suffixMask", "f32", ["B", 1, "T", "U"]);
  const isWindowed = config.slidingWindow !== undefined;
  const windowSuffixMask = isWindowed ? graph.input("windowSuffixMask", "f32", ["B", 1, "T", "U"]) : "";
  const windowContextMask = isWindowed ? graph.input("windowContextMask", "f32", ["B", 1, "T", "W"]) : "";
  const suffixSplit = graph.input("suffixSplit", "i64", [2]);
  const shapeOf = (value: Value, start: number, end: number): Value => graph.node("Shape", [value], { start, end });
  const batch = shapeOf(ids, 0, 1);
  const tokens = shapeOf(ids, 1, 2);
  const groupShape = graph.concat([batch, graph.ints(groupSize), tokens, graph.ints(-1)], 0); // [B, G, T, columns]
  const groupRows = graph.node("Mul", [tokens, graph.ints(groupSize)]);
  const rowShape = graph.concat([batch, groupRows, graph.ints(-1)], 0); // [B, G·T, columns]
  const flatShape = graph.concat([graph.node("Mul", [batch, groupRows]), graph.ints(-1)], 0); // [B·G·T, columns]
  const outShape = graph.concat([batch, graph.ints(numQueryHeads), tokens, graph.ints(headDim)], 0); // [B, H, T, D]

  const split = (value: Value, sizes: Value, axis: number, names: readonly string[]): readonly Value[] =>
    graph.nodeWithOutputs("Split", [value, sizes], names, { axis });
  const heads = Array.from({ length: numKvHeads }, (_, head) => head);
  const perHead = (value: Value, size: number, axis: number, prefix: string): readonly Value[] =>
    numKvHeads === 1
      ? [value]
      : split(
          value,
          graph.ints(...heads.map(() => size)),
          axis,
          heads.map((head) => `${prefix}.${head}`),
        );

  const attend = (layer: number, { q, k, v }: AttentionTensors): Value => {
    const newKey = graph.nodeWithOutputs("Identity", [k], [`newKey.${layer}`])[0] as Value;
    const newValue = graph.nodeWithOutputs("Identity", [v], [`newValue.${layer}`])[0] as Value;
    graph.output(newKey, "f32", ["B", "T", kvSize]);
    graph.output(newValue, "f32", ["B", "T", kvSize]);
    const q_BHTD = graph.transpose(graph.reshape(q, 0, 0, numQueryHeads, headDim), 0, 2, 1, 3);
    const sees = windowOf(config, layer);
    const qHeads = perHead(q_BHTD, groupSize, 1, `q.${layer}`); // [B, G, T, D]
    const kHeads = perHead(k, headDim, 2, `k.${layer}`); // [B, T, D]
    const vHeads = perHead(v, headDim, 2, `v.${layer}`);
    const outs = qHeads.map((qHead, head) => {
      const id = `${layer}.${head}`;
      const suffixKey = graph.input(`suffixKey.${id}`, "f32", ["B", "S", headDim]);
      const suffixValue = graph.input(`suffixValue.${id}`, "f32", ["B", "S", headDim]);
      const sizes = graph.input(`split.${id}`, "i64", [2]);
      const q_BRD = graph.node("Reshape", [qHead, rowShape]);
      const q_RD = graph.reshape(qHead, -1, headDim);
      const context = readContext(graph, id, q_RD, headDim, scale, options.recalls === true && recallsLayer(layer));
      const contextLogits = graph.node("Reshape", [context.logits, groupShape]); // [B, G, T, N]
      const suffixLogits = graph.concat(
        [
          graph.matMulTransposed(q_BRD, suffixKey, scale), // [B, G·T, S]
          graph.matMulTransposed(q_BRD, kHeads[head] as Value, scale), // [B, G·T, T]
        ],
        2,
      );
      const ownLogits = graph.node("Reshape", [suffixLogits, groupShape]);
      const masked = graph.add(ownLogits, sees === undefined ? suffixMask : windowSuffixMask);
      const onSeen = sees === undefined ? contextLogits : graph.add(contextLogits, windowContextMask);
      const attention = graph.node("Softmax", [graph.concat([masked, onSeen], 3)], { axis: -1 });
      const [onSuffix, onContext] = split(attention, sizes, 3, [`onSuffix.${id}`, `onContext.${id}`]) as [Value, Value];
      const [onOld, onNew] = split(onSuffix, suffixSplit, 3, [`onOld.${id}`, `onNew.${id}`]) as [Value, Value];
      const fromContext = context.weigh(graph.node("Reshape", [onContext, flatShape])); // [B·G·T, D]
      const fromOld = graph.matMul(graph.node("Reshape", [onOld, rowShape]), suffixValue);
      const fromNew = graph.matMul(graph.node("Reshape", [onNew, rowShape]), vHeads[head] as Value);
      return graph.add(graph.node("Reshape", [fromContext, rowShape]), graph.add(fromOld, fromNew)); // [B, G·T, D]
    });
    const all = graph.node("Reshape", [outs.length === 1 ? (outs[0] as Value) : graph.concat(outs, 1), outShape]);
    return graph.reshape(graph.transpose(all, 0, 2, 1, 3), 0, 0, numQueryHeads * headDim);
  };
  const selectRows = (hidden: Value): Value =>
    graph.node("Gather", [graph.reshape(hidden, -1, hiddenSize), lastRow], { axis: 0 });
  const logits = family.build(graph, config, { ids, positions, attend, selectRows });
  graph.nodeWithOutputs("Identity", [logits], ["logits"]);
  graph.output("logits", "f32", ["B", vocabSize]);
  return graph.toBytes();
}

/** What query rows `[R, D]` see of the context: logits of its rows, and the sum that `[R, N]` weights make of its values. */
function readContext(
  graph: GraphBuilder,
  id: string,
  q_RD: Value,
  headDim: number,
  scale: number,
  recalls: boolean,
): { readonly logits: Value; weigh(weights: Value): Value } {
  if (recalls) {
    const { logits, weigh } = recallRows(graph, id, q_RD, headDim, scale);
    return { logits, weigh: (weights) => weigh(graph.node("Unsqueeze", [weights, graph.ints(1)])) };
  }
  const contextKey = graph.input(`contextKey.${id}`, "f32", [headDim, `N.${id}`]);
  const contextValue = graph.input(`contextValue.${id}`, "f32", [`N.${id}`, headDim]);
  return {
    logits: graph.microsoft("FusedMatMul", [q_RD, contextKey], { alpha: { float: scale } }),
    weigh: (weights) => graph.matMul(weights, contextValue),
  };
}
