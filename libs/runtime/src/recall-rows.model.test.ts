/** Recall of clusters inside ONNX Runtime against loops, and on real weights against reading everything. */
import { codecFromSpec, type DecodedLayer, decodeLayer, encodeLayer } from "@kvault/compression";
import { createRng } from "@kvault/core";
import { toBeAllclose } from "@kvault/core/testing";
import { buildRecallGraph } from "@kvault/model/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fullLayer, type ModelRunner, type PrefilledContext, residentContext } from "./index.ts";
import { byCluster } from "./recall-rows.ts";
import { f32Tensor, i64Tensor, openSession } from "./session.ts";
import { readReferenceVectors } from "./testing/reference-vectors.ts";
import { openTestModel } from "./testing/test-model.ts";

expect.extend({ toBeAllclose });

const dot = (a: Float32Array, b: Float32Array): number => a.reduce((sum, x, i) => sum + x * b[i]!, 0);

describe("recall", () => {
  const [N, D, R] = [60, 8, 5];
  const rng = createRng(3);
  const random = (length: number): Float32Array => Float32Array.from({ length }, () => 2 * rng.next() - 1);
  const [key_ND, value_ND, q_RD] = [random(N * D), random(N * D), random(R * D)];
  const rowOf = (rows: Float32Array, n: number): Float32Array => rows.subarray(n * D, (n + 1) * D);

  /** Rows that `q` reads, by sorting clusters and taking rows one by one; `cluster_N` gives the order inside a cluster too. */
  function slowly(q: Float32Array, cluster_N: Uint16Array, budget: number): number[] {
    const likeness = new Map<number, number>();
    for (const c of new Set(cluster_N)) {
      const sum = new Float32Array(D);
      for (let n = 0; n < N; n++) {
        if (cluster_N[n] !== c) continue;
        const key = rowOf(key_ND, n);
        for (let d = 0; d < D; d++) sum[d]! += key[d]! / Math.sqrt(dot(key, key));
      }
      likeness.set(c, c === 0 ? Number.POSITIVE_INFINITY : dot(q, sum) / Math.sqrt(dot(sum, sum)));
    }
    const order = [...likeness.keys()].sort((a, b) => likeness.get(b)! - likeness.get(a)!);
    return order.flatMap((c) => [...cluster_N.keys()].filter((n) => cluster_N[n] === c)).slice(0, budget);
  }

  test.each([
    ["clusters of every size", Uint16Array.from({ length: N }, (_, n) => (n < 4 ? 0 : 1 + (((n * n) % 23) % 7)))],
    ["no rows that are always read", Uint16Array.from({ length: N }, (_, n) => 1 + (n % 9))],
    ["one cluster", new Uint16Array(N)],
    ["numbers that nobody has", Uint16Array.from({ length: N }, (_, n) => 10 * (n % 6))],
  ])("reads whole clusters in order of likeness, the last cut: %s", async (_what, cluster_N) => {
    const session = await openSession(buildRecallGraph(D), { numThreads: 1 });
    const order = [...cluster_N.keys()].sort((a, b) => cluster_N[a]! - cluster_N[b]! || a - b);
    for (const budget of [1, 3, 4, 5, 17, N - 1, N, 4 * N]) {
      const M = Math.min(budget, N);
      const rows = i64Tensor(new Array<number>(R * M).fill(0), [R, M]);
      const [logits, mean] = [new Float32Array(R * M), new Float32Array(R * D)];
      const weights = f32Tensor(new Float32Array(R * M).fill(1 / M), [R, 1, M]);
      await session.run(
        { q: f32Tensor(q_RD, [R, D]), weights, ...byCluster("0", { key_ND, value_ND, headDim: D }, cluster_N, budget) },
        { rows, logits: f32Tensor(logits, [R, M, 1]), mean: f32Tensor(mean, [R, 1, D]) },
      );
      for (let r = 0; r < R; r++) {
        const q = rowOf(q_RD, r);
        const read = Array.from((rows.data as BigInt64Array).subarray(r * M, (r + 1) * M), (row) => order[Number(row)]!);
        expect(read).toEqual(slowly(q, cluster_N, budget));
        expect(logits.subarray(r * M, (r + 1) * M)).toBeAllclose(
          Float32Array.from(read, (n) => dot(q, rowOf(key_ND, n)) / Math.sqrt(D)),
          { rtol: 1e-4, atol: 1e-5 },
        );
        const expected = Float32Array.from({ length: D }, (_, d) => read.reduce((sum, n) => sum + value_ND[n * D + d]! / M, 0));
        expect(rowOf(mean, r)).toBeAllclose(expected, { rtol: 1e-4, atol: 1e-5 });
      }
    }
    await session.close();
  });
});

describe("a context in clusters, smollm2-135m", () => {
  const reference = readReferenceVectors("smollm2-135m");
  const { prefixTokens, contextIds } = reference;
  const questionIds = [...(reference.questionIds[0] as Int32Array)].slice(0, 6);
  let runner: ModelRunner;
  let context: PrefilledContext;

  beforeAll(async () => {
    runner = await openTestModel(reference.name, "f32");
    context = await runner.prefill({
      prefixIds: contextIds.slice(0, prefixTokens),
      contextIds: contextIds.slice(prefixTokens, 300),
    });
  });
  afterAll(() => runner?.close());

  /** Logits after the question, read in runs of these lengths. */
  async function logits(codecSpec: string | undefined, ...lengths: number[]): Promise<Float32Array> {
    const { config } = runner;
    const layers = Array.from({ length: config.numLayers }, (_, layer): DecodedLayer => {
      const full = fullLayer(context.layer(layer));
      if (codecSpec === undefined) return full;
      return decodeLayer(codecSpec, encodeLayer(codecFromSpec(codecSpec), full), { ...config, seqLen: context.seqLen });
    });
    const batch = runner.openStepBatch(residentContext(context.seqLen, layers));
    const sequence = batch.add();
    let row = new Float32Array();
    let at = 0;
    for (const length of lengths) {
      row = (await batch.run([{ sequence, ids: questionIds.slice(at, at + length) }]))[0]!.slice();
      at += length;
    }
    batch.close();
    return row;
  }

  test("answers as one that is read whole, where the budget has room for it", async () => {
    const whole = await logits("f16", 6);
    const recalled = await logits("clusterkv(budget=1024,size=40,sinks=16,rounds=8)", 6);
    expect(recalled).toBeAllclose(whole, { rtol: 0, atol: 1e-3 });
  });

  test("reads less under a budget, and the same however the question came in runs", async () => {
    const spec = "clusterkv(budget=48,size=20,sinks=16,rounds=8)";
    const [whole, atOnce, inPieces] = [await logits("f16", 6), await logits(spec, 6), await logits(spec, 1, 3, 2)];
    expect(atOnce.every(Number.isFinite)).toBe(true);
    expect(Math.max(...atOnce.map((x, i) => Math.abs(x - whole[i]!)))).toBeGreaterThan(0.05);
    expect(inPieces).toBeAllclose(atOnce, { rtol: 0, atol: 1e-3 });
  });
});
