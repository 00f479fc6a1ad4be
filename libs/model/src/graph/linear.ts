/**
 * Matrix products and row look-ups on block-quantised weights.
 *
 * `MatMulNBits` computes x·Wᵀ with activations quantised to int8 per block (`accuracy_level`
 * 4) or in f32 (1); `GatherBlockQuantized` dequantises only the rows asked for. A tied
 * embedding shares its bytes between both.
 *
 * @module
 */
import type { Activations, GraphBuilder, Value } from "./graph-builder.ts";

const ACCURACY_LEVEL: Record<Activations, number> = { int8: 4, f32: 1 };

/** `x [.., K]` → `[.., N]`. */
export function linear(graph: GraphBuilder, x: Value, name: string): Value {
  const { rows, columns, bits, blockSize } = graph.matrix(name);
  const inputs = [x, graph.weight(`${name}.quant`), graph.weight(`${name}.scale`)];
  if (graph.hasWeight(`${name}.zero`)) inputs.push(graph.weight(`${name}.zero`));
  return graph.microsoft("MatMulNBits", inputs, {
    K: columns,
    N: rows,
    bits,
    block_size: blockSize,
    accuracy_level: ACCURACY_LEVEL[graph.activations],
  });
}

/** `ids [B, T]` → rows `[B, T, K]`. */
export function embed(graph: GraphBuilder, ids: Value, name: string): Value {
  const { rows, columns, bits, blockSize } = graph.matrix(name);
  const blocks = columns / blockSize;
  const inputs = [
    graph.weight(`${name}.quant`, `${name}.rows`, [rows, (columns * bits) / 8]),
    ids,
    graph.weight(`${name}.scale`, `${name}.rowScale`, [rows, blocks]),
  ];
  if (graph.hasWeight(`${name}.zero`)) {
    inputs.push(graph.weight(`${name}.zero`, `${name}.rowZero`, [rows, Math.ceil((blocks * bits) / 8)]));
  }
  return graph.microsoft("GatherBlockQuantized", inputs, { bits, block_size: blockSize, gather_axis: 0, quantize_axis: 1 });
}
