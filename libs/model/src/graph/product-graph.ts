/**
 * Single matrix products and attentions as graphs, for work beside the model that is worth
 * ONNX Runtime's kernels (the value refit).
 *
 * @module
 */
import { GraphBuilder, MICROSOFT, type Value } from "./graph-builder.ts";

/** Inputs `left`, `right`, output `product`; f32 matrices of any size. */
export function buildProductGraph(transpose: { readonly left: boolean; readonly right: boolean }): Uint8Array {
  const graph = new GraphBuilder({ tensors: {}, matrices: {} }, "", "f32");
  const left = graph.input("left", "f32", ["a", "b"]);
  const right = graph.input("right", "f32", ["c", "d"]);
  const attributes = { transA: Number(transpose.left), transB: Number(transpose.right) };
  graph.nodeWithOutputs("FusedMatMul", [left, right], ["product"], attributes, MICROSOFT);
  graph.output("product", "f32", ["e", "f"]);
  return graph.toBytes();
}

/** Inputs `query` [M, D], scaled by 1/√D already, and `key` [N, D]; output `product` [M, N], softmax of their products by rows. */
export function buildAttentionGraph(): Uint8Array {
  const graph = new GraphBuilder({ tensors: {}, matrices: {} }, "", "f32");
  const logits = logitsOf(graph);
  graph.nodeWithOutputs("Softmax", [logits], ["product"], { axis: -1 });
  graph.output("product", "f32", ["m", "n"]);
  return graph.toBytes();
}

/** As {@link buildAttentionGraph}, times an input `value` [N, D]; output `product` [M, D]. */
export function buildAttendGraph(): Uint8Array {
  const graph = new GraphBuilder({ tensors: {}, matrices: {} }, "", "f32");
  const weights = graph.node("Softmax", [logitsOf(graph)], { axis: -1 });
  graph.nodeWithOutputs("MatMul", [weights, graph.input("value", "f32", ["n", "d"])], ["product"]);
  graph.output("product", "f32", ["m", "d"]);
  return graph.toBytes();
}

function logitsOf(graph: GraphBuilder): Value {
  const query = graph.input("query", "f32", ["m", "d"]);
  const key = graph.input("key", "f32", ["n", "d"]);
  return graph.microsoft("FusedMatMul", [query, key], { transB: 1 });
}
