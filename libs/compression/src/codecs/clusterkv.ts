/**
 * ClusterKV: everything is stored, and each new token reads the clusters of keys it points to.
 *
 * Paper: arXiv:2412.03213 (recall, not eviction). A head's first `sinks` rows are cluster 0; the
 * others are put into `ceil(rows / size)` clusters by the direction of their keys
 * (cluster-keys.ts). A decode worker orders clusters by `query · centroid`, cluster 0 first, and
 * reads whole clusters until `budget` rows, the last one cut; heads of no more rows are read
 * whole, and so are the first two layers. What a question and its answer add is always read.
 *
 * Ours: centroids are unit vectors found on a sample of the rows, in at most `rounds` rounds
 * (the authors: all rows, 20); every new token recalls for itself, of a question too, so an
 * answer does not depend on how its tokens came in runs. Clusters are formed inside one part.
 * Models with windowed layers cannot use it.
 *
 * Tensors `k`, `v` F16 `[n, D]` and `cluster` U16 `[n]`, clusters of each head from 0. Cost:
 * `rows · clusters · D` at build, for each head.
 *
 * @module
 */
import { alignedView, bytesOf, KvaultError, type NamedTensor } from "@kvault/core";
import { z } from "zod";
import type { Codec, CodecFactory, EncodableLayer, RaggedLayout } from "../types.ts";
import { clusterKeys } from "./cluster-keys.ts";
import { expectTensors, planBytes, type TensorPlan } from "./expect-tensors.ts";
import { f16 } from "./f16.ts";

const params = z.strictObject({
  budget: z.int().min(32).max(65_536).default(1024).describe("rows of a head that a new token reads"),
  size: z.int().min(8).max(4096).default(80).describe("rows of a cluster, in the mean"),
  sinks: z.int().min(0).max(65_536).default(16).describe("first rows of a head, always read"),
  rounds: z.int().min(1).max(100).default(8).describe("most rounds of k-means"),
});

export const clusterkv: CodecFactory = {
  name: "clusterkv",
  summary: "half precision; a new token reads the clusters of keys it points to, up to a budget",
  source: "arXiv:2412.03213",
  params,
  create: (given) => createClusterkv(params.parse(given)),
};

/** A head has no more clusters: their number is stored in 16 bits, and each costs every row a product. */
const MAX_CLUSTERS = 400;

function createClusterkv({ budget, size, sinks, rounds }: z.infer<typeof params>): Codec {
  const halves = f16.create({});
  return {
    recalls: true,
    maxRelativeError: halves.maxRelativeError,
    encode: (layer) => new Map([...halves.encode(layer), ["cluster", clustersOf(layer, size, sinks, rounds)]]),
    decode: (tensors, layout) => {
      expectTensors(tensors, planOf(layout));
      const { cluster, ...rows } = Object.fromEntries(tensors) as Record<string, NamedTensor>;
      const cluster_n = alignedView(cluster.data, Uint16Array);
      checkClusters(cluster_n, layout);
      return { ...halves.decode(new Map(Object.entries(rows)), layout), recall: { cluster_n, budgetRows: budget } };
    },
    encodedBytes: (layout) => planBytes(planOf(layout)),
  };
}

function planOf({ headDim, position_n }: RaggedLayout): TensorPlan {
  const shape = [position_n.length, headDim];
  return { k: { dtype: "F16", shape }, v: { dtype: "F16", shape }, cluster: { dtype: "U16", shape: [position_n.length] } };
}

function clustersOf(
  { numKvHeads, headDim: D, offset, key_nD }: EncodableLayer,
  size: number,
  sinks: number,
  rounds: number,
): NamedTensor {
  const cluster_n = new Uint16Array(offset[numKvHeads]);
  for (let k = 0; k < numKvHeads; k++) {
    const start = Math.min(offset[k + 1], offset[k] + sinks);
    const rows = offset[k + 1] - start;
    const found = clusterKeys(
      key_nD.subarray(start * D, offset[k + 1] * D),
      D,
      Math.min(MAX_CLUSTERS, Math.ceil(rows / size)),
      rounds,
    );
    for (let n = 0; n < rows; n++) cluster_n[start + n] = found[n] + 1;
  }
  return { dtype: "U16", shape: [cluster_n.length], data: bytesOf(cluster_n) };
}

/** Throws CACHE_CORRUPT for a cluster above what a head's rows can make. */
function checkClusters(cluster_n: Uint16Array, { numKvHeads, offset }: RaggedLayout): void {
  for (let k = 0; k < numKvHeads; k++) {
    for (let n = offset[k]; n < offset[k + 1]; n++) {
      if (cluster_n[n] <= Math.min(MAX_CLUSTERS, offset[k + 1] - offset[k])) continue;
      throw new KvaultError("CACHE_CORRUPT", `Cannot decode part: found cluster ${cluster_n[n]} at row ${n} of head ${k}`, {
        details: { tensor: "cluster", kvHead: k },
      });
    }
  }
}
