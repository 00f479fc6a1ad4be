/**
 * Recall of clusters: each query row attends to the rows of the clusters it points to (ClusterKV).
 *
 * Rows of a head lie cluster by cluster. For every query row clusters are put in order of
 * `query · centroid + first` and taken whole until M rows, the last one cut: exactly M for
 * every query, so results stay rectangular.
 *
 *   place of a cluster = sum of the sizes of those before it in order
 *   row[j] = row[j - 1] + 1, but where a cluster has its place: that cluster's first row
 *
 * The second line is a cumulative sum of ones with the jumps scattered in: O(M + C) a query.
 * Only recalled rows of keys and values are read. Memory: `2 · queries · M · D` numbers.
 *
 * @module
 */
import type { GraphBuilder, Value } from "./graph-builder.ts";

/** What one head's queries have recalled. */
export interface Recalled {
  /** `[R, M]` which of the head's rows. */
  readonly rows: Value;
  /** `[R, M, 1]` */
  readonly logits: Value;
  /** `[R, 1, M]` weights on the recalled rows → `[R, 1, D]`. */
  weigh(weights: Value): Value;
}

/**
 * `q_RD` on head `id`, whose inputs this adds: `contextKey.id` `contextValue.id` [N,D], `centroid.id`
 * [D,C], `first.id` [C] f32, `clusterSize.id` `clusterStart.id` [C] and `recalled.id` [1] (M) i64.
 * The clusters have M rows or more.
 */
export function recallRows(graph: GraphBuilder, id: string, q_RD: Value, headDim: number, scale: number): Recalled {
  const contextKey = graph.input(`contextKey.${id}`, "f32", [`N.${id}`, headDim]);
  const contextValue = graph.input(`contextValue.${id}`, "f32", [`N.${id}`, headDim]);
  const rows = recalledRows(graph, id, q_RD, headDim);
  const key_RMD = graph.node("Gather", [contextKey, rows], { axis: 0 });
  const value_RMD = graph.node("Gather", [contextValue, rows], { axis: 0 });
  const scaled = graph.node("Mul", [graph.reshape(q_RD, -1, headDim, 1), graph.scalarFloat(scale)]);
  return { rows, logits: graph.matMul(key_RMD, scaled), weigh: (weights) => graph.matMul(weights, value_RMD) };
}

/** `[R, M]` rows that each query reads. */
function recalledRows(graph: GraphBuilder, id: string, q_RD: Value, headDim: number): Value {
  const centroid = graph.input(`centroid.${id}`, "f32", [headDim, `C.${id}`]);
  const first = graph.input(`first.${id}`, "f32", [`C.${id}`]);
  const sizes = graph.input(`clusterSize.${id}`, "i64", [`C.${id}`]);
  const starts = graph.input(`clusterStart.${id}`, "i64", [`C.${id}`]);
  const recalled = graph.input(`recalled.${id}`, "i64", [1]);
  const numClusters = graph.node("Shape", [centroid], { start: 1, end: 2 });
  const numQueries = graph.node("Shape", [q_RD], { start: 0, end: 1 });
  const along = graph.scalarInt(1);
  const likeness = graph.add(graph.matMul(q_RD, centroid), first); // [R, C]
  const order = graph.nodeWithOutputs("TopK", [likeness, numClusters], [`likeness.${id}`, `order.${id}`], {
    axis: -1,
  })[1] as Value;
  const size = graph.node("Gather", [sizes, order], { axis: 0 });
  const start = graph.node("Gather", [starts, order], { axis: 0 });
  const place = graph.node("Sub", [graph.node("CumSum", [size, along]), size]);
  // Where the cluster before ended, and 1 before the first: the jump that is added to a step of 1.
  const ends = graph.node("Slice", [graph.add(start, size), graph.ints(0), graph.ints(-1), graph.ints(1)]);
  const ones = graph.node("Expand", [graph.ints(1), graph.concat([numQueries, graph.ints(1)], 0)]);
  const jump = graph.add(graph.node("Sub", [start, graph.concat([ones, ends], 1)]), graph.ints(1));
  const steps = graph.node("Expand", [graph.ints(1), graph.concat([numQueries, graph.add(recalled, graph.ints(1))], 0)]);
  // Clusters that are not reached all jump in one column beside the last.
  const column = graph.node("Min", [place, recalled]);
  const jumped = graph.node("ScatterElements", [steps, column, jump], { axis: 1 });
  return graph.node("Slice", [graph.node("CumSum", [jumped, along]), graph.ints(0), recalled, graph.ints(1)]);
}

/** The first layers read every row: they attend widely, and little is saved there. */
const WHOLE_LAYERS = 2;

/** Whether clusters of a layer are recalled where a context has any. */
export function recallsLayer(layer: number): boolean {
  return layer >= WHOLE_LAYERS;
}
