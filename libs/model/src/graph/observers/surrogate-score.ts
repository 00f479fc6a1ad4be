/**
 * A linear guess of every pair's KVzip score from the hidden state that makes it: one small
 * matrix product per layer inside prefill, in place of a second pass over the context.
 *
 * @module
 */
import type { Observer } from "./observer.ts";

/**
 * Inputs: `surrogateWeight.l` [M, K], `surrogateBias.l` [K] (a profile of the model, standardisation
 * folded in). Outputs: `surrogate.l` [1, T, K], log scores.
 */
export const surrogateScore: Observer = (graph, config) => {
  const { hiddenSize, numKvHeads } = config;
  return ({ layer, hidden }) => {
    const weight = graph.input(`surrogateWeight.${layer}`, "f32", [hiddenSize, numKvHeads]);
    const bias = graph.input(`surrogateBias.${layer}`, "f32", [numKvHeads]);
    const name = `surrogate.${layer}`;
    graph.nodeWithOutputs("Add", [graph.matMul(hidden, weight), bias], [name]);
    graph.output(name, "f32", [1, "T", numKvHeads]);
  };
};
