import { alignedView, createRng } from "@kvault/core";
import { makeRaggedLayer } from "@kvault/core/testing";
import { describe, expect, test } from "vitest";
import { decodeParts, encodeLayer } from "../part.ts";
import { clusterkv } from "./clusterkv.ts";

const layer = makeRaggedLayer(createRng(4), { numKvHeads: 3, seqLen: 200, headDim: 8 });
const shape = { numKvHeads: 3, headDim: 8, seqLen: 200 };

describe("clusterkv", () => {
  test("the first rows of a head are its cluster 0 and nothing else is", () => {
    const codec = clusterkv.create({ sinks: 4, size: 10 });
    const { recall } = codec.decode(codec.encode(layer), layer);
    for (let k = 0; k < 3; k++) {
      const own = recall!.cluster_n.subarray(layer.offset[k], layer.offset[k + 1]);
      for (const [n, cluster] of own.entries()) expect(cluster === 0).toBe(n < 4);
      expect(new Set(own).size).toBe(Math.max(...own) + 1);
      expect(Math.max(...own)).toBeLessThanOrEqual(Math.ceil((own.length - 4) / 10));
    }
    expect(recall!.budgetRows).toBe(1024);
  });

  test("layers of several parts number their clusters on", () => {
    const codec = clusterkv.create({ size: 8, sinks: 2, budget: 50 });
    const parts = encodeLayer(codec, layer, 12_000);
    expect(parts.length).toBeGreaterThan(2);
    const { recall, offset } = decodeParts(codec, parts, shape);
    expect(recall!.budgetRows).toBe(50);
    expect(recall!.cluster_n).toHaveLength(layer.position_n.length);
    for (let k = 0; k < 3; k++) {
      const own = recall!.cluster_n.subarray(offset[k], offset[k + 1]);
      expect([...new Set(own)].sort((a, b) => a - b)).toEqual(Array.from({ length: Math.max(...own) + 1 }, (_, c) => c));
    }
  });

  test("a cluster that no row can have is refused", () => {
    const codec = clusterkv.create({});
    const tensors = codec.encode(layer);
    const cluster = tensors.get("cluster")!;
    const data = cluster.data.slice();
    alignedView(data, Uint16Array)[3] = 401;
    tensors.set("cluster", { ...cluster, data });
    expect(() => codec.decode(tensors, layer)).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
  });
});
