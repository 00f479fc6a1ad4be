/**
 * How much attention the last tokens of a context pay to each position: what SnapKV, TOVA,
 * PyramidKV and CompressKV vote with.
 *
 * The chunk is the window: T tokens with the context before them as past. Per query head the
 * softmax rows of the T tokens are summed. Work arrays are `H·T × S` floats.
 *
 * @module
 */
import { type Observer, observedAttention } from "./observer.ts";

/** Input: `causal` [T, T] f32. Outputs: `windowAttention.l` [H, P + T], sums over the T rows. */
export const windowAttention: Observer = (graph, config) => {
  const { numQueryHeads } = config;
  const causal = graph.input("causal", "f32", ["T", "T"]);
  const tokens = graph.node("Shape", [causal], { start: 0, end: 1 });
  const byToken = graph.concat([graph.ints(numQueryHeads), tokens, graph.ints(-1)], 0);
  return ({ layer, q, k, pastKey }) => {
    const attention = observedAttention(graph, config, { q, k }, pastKey, causal); // [K, G·T, P + T]
    const rows = graph.node("Reshape", [attention, byToken]); // [H, T, P + T]
    const name = `windowAttention.${layer}`;
    graph.nodeWithOutputs("ReduceSum", [rows, graph.ints(1)], [name], { keepdims: 0 });
    graph.output(name, "f32", [numQueryHeads, "S"]);
  };
};
