/**
 * The rotated queries themselves, for whoever samples them: the value refit.
 *
 * @module
 */
import type { Observer } from "./observer.ts";

/** Outputs: `query.l` [1, T, H·D]. */
export const queries: Observer = (graph, config) => {
  return ({ layer, q }) => {
    const name = `query.${layer}`;
    graph.nodeWithOutputs("Identity", [q], [name]);
    graph.output(name, "f32", [1, "T", config.numQueryHeads * config.headDim]);
  };
};
