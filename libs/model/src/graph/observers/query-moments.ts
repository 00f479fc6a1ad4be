/**
 * Sums and sums of outer products of a chunk's queries before rotation: what Expected
 * Attention (arXiv:2510.00636) makes mean and covariance of. Rotation is undone by rotating
 * with negated sines, exact up to f32 rounding.
 *
 * @module
 */

import { globalLayers } from "../../rope.ts";
import { rotationTables } from "../decoder.ts";
import type { Observer } from "./observer.ts";

/**
 * Inputs: the graph's `positions`, and `momentsFrom` [1] i64: rows of the chunk before it are
 * left out. Outputs: `querySum.l` [H, D], `queryOuter.l` [H, D, D].
 */
export const queryMoments: Observer = (graph, config) => {
  const { numQueryHeads, headDim } = config;
  const from = graph.input("momentsFrom", "i64", [1]);
  const tables = rotationTables(config, globalLayers(config)[0] as number);
  const cos = graph.weight(tables.cos);
  const minusSin = graph.node("Neg", [graph.weight(tables.sin)]);
  return ({ layer, q }) => {
    const rotation = { interleaved: 0, num_heads: numQueryHeads };
    const plain = graph.microsoft("RotaryEmbedding", [q, "positions", cos, minusSin], rotation);
    const counted = graph.node("Slice", [plain, from, graph.ints(Number.MAX_SAFE_INTEGER), graph.ints(1)]);
    const byHead = graph.reshape(counted, -1, numQueryHeads, headDim); // [T, H, D]
    const rows = graph.transpose(byHead, 1, 0, 2); // [H, T, D]
    const columns = graph.transpose(byHead, 1, 2, 0); // [H, D, T]
    graph.nodeWithOutputs("ReduceSum", [rows, graph.ints(1)], [`querySum.${layer}`], { keepdims: 0 });
    graph.nodeWithOutputs("MatMul", [columns, rows], [`queryOuter.${layer}`]);
    graph.output(`querySum.${layer}`, "f32", [numQueryHeads, headDim]);
    graph.output(`queryOuter.${layer}`, "f32", [numQueryHeads, headDim, headDim]);
  };
};
