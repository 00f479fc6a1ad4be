/**
 * Recall alone as a graph: what the step graph does with one head's clusters.
 *
 * @module
 */
import { GraphBuilder } from "../graph/graph-builder.ts";
import { recallRows } from "../graph/recall.ts";

/** Input `q` [R,D] and those of head `0`; outputs `rows` [R,M] i64, `logits` [R,M,1], and `mean` [R,1,D] of the recalled values. */
export function buildRecallGraph(headDim: number): Uint8Array {
  const graph = new GraphBuilder({ tensors: {}, matrices: {} }, "", "f32");
  const q_RD = graph.input("q", "f32", ["R", headDim]);
  const weights = graph.input("weights", "f32", ["R", 1, "M"]);
  const { rows, logits, weigh } = recallRows(graph, "0", q_RD, headDim, 1 / Math.sqrt(headDim));
  for (const [name, value, type, shape] of [
    ["rows", rows, "i64", ["R", "M"]],
    ["logits", logits, "f32", ["R", "M", 1]],
    ["mean", weigh(weights), "f32", ["R", 1, headDim]],
  ] as const) {
    graph.nodeWithOutputs("Identity", [value], [name]);
    graph.output(name, type, shape);
  }
  return graph.toBytes();
}
