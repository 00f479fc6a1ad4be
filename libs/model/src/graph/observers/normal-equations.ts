/**
 * The sums a least-squares fit of per-token targets from hidden states needs: X'X, X'Y and
 * the column sums, over a chunk. Hidden states never leave the graph.
 *
 * @module
 */
import type { Value } from "../graph-builder.ts";
import type { Observer } from "./observer.ts";

/**
 * Inputs: `fitFrom` [1] i64 (rows of the chunk before it are left out), `target.l` [T, K] f32.
 * Outputs: `gram.l` [M, M], `cross.l` [M, K], `hiddenSum.l` [1, M], `targetSum.l` [1, K].
 */
export const normalEquations: Observer = (graph, config) => {
  const { hiddenSize, numKvHeads } = config;
  const from = graph.input("fitFrom", "i64", [1]);
  const counted = (rows: Value): Value => graph.node("Slice", [rows, from, graph.ints(Number.MAX_SAFE_INTEGER), graph.ints(0)]);
  return ({ layer, hidden }) => {
    const x = counted(graph.reshape(hidden, -1, hiddenSize)); // [T, M]
    const y = counted(graph.input(`target.${layer}`, "f32", ["T", numKvHeads]));
    const columns = graph.transpose(x, 1, 0);
    const output = (name: string, op: string, inputs: readonly Value[], shape: readonly number[]): void => {
      graph.nodeWithOutputs(op, inputs, [`${name}.${layer}`], op === "ReduceSum" ? { keepdims: 1 } : {});
      graph.output(`${name}.${layer}`, "f32", shape);
    };
    output("gram", "MatMul", [columns, x], [hiddenSize, hiddenSize]);
    output("cross", "MatMul", [columns, y], [hiddenSize, numKvHeads]);
    output("hiddenSum", "ReduceSum", [x, graph.ints(0)], [1, hiddenSize]);
    output("targetSum", "ReduceSum", [y, graph.ints(0)], [1, numKvHeads]);
  };
};
