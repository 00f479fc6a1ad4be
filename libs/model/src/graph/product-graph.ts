/**
 * One matrix product as a graph: `op(left) × op(right)`, operands transposed where asked. For
 * work beside the model that is worth ONNX Runtime's kernels (the value refit).
 *
 * @module
 */
import { GraphBuilder, MICROSOFT } from "./graph-builder.ts";

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
