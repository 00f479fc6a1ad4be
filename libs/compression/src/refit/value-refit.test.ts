import { createRng, type DenseLayerKv, gatherRagged, type RaggedLayerKv, type Rng } from "@kvault/core";
import { toBeAllclose } from "@kvault/core/testing";
import { describe, expect, test } from "vitest";
import { refitRows } from "../pipeline.ts";
import { resolveSpec } from "../plan.ts";
import { attentionReference } from "../testing/attention-reference.ts";
import { factoryChecks } from "../testing/check.ts";
import { plainMatMul } from "./mat-mul.ts";
import { refit } from "./refit.ts";
import { refitValues } from "./value-refit.ts";

expect.extend({ toBeAllclose });

for (const check of factoryChecks(refit)) test(`refit ${check.name}`, check.run);

/** One head; every other token kept. */
function problem(rng: Rng, [S, D, M]: readonly [number, number, number], spread = 2) {
  const draw = (length: number): Float32Array => Float32Array.from({ length }, () => spread * (2 * rng.next() - 1));
  const dense: DenseLayerKv = { numKvHeads: 1, seqLen: S, headDim: D, key_KSD: draw(S * D), value_KSD: draw(S * D) };
  const position_n = Uint32Array.from({ length: Math.ceil(S / 2) }, (_, i) => 2 * i);
  const kept = gatherRagged(dense, Uint32Array.of(0, position_n.length), position_n);
  return { dense, kept, query_KMD: draw(M * D) };
}

const outputs = (query_KMD: Float32Array, D: number, key_nD: Float32Array, value_nD: Float32Array): Float64Array[] =>
  Array.from({ length: query_KMD.length / D }, (_, i) =>
    attentionReference(Float64Array.from(query_KMD.subarray(i * D, (i + 1) * D)), { key_nD, value_nD }),
  );

/** Σ over queries of the squared difference to what the whole context put out. */
function outputError({ dense, kept, query_KMD }: ReturnType<typeof problem>, value_nD: Float32Array): number {
  const full = outputs(query_KMD, dense.headDim, dense.key_KSD, dense.value_KSD);
  const found = outputs(query_KMD, dense.headDim, kept.key_nD, value_nD);
  return full.reduce((sum, row, i) => sum + row.reduce((rest, x, d) => rest + (x - found[i][d]) ** 2, 0), 0);
}

/** Δ by Cholesky on the normal equations in f64, λ as stated. */
function refitReference({ dense, kept, query_KMD }: ReturnType<typeof problem>, ridge: number): Float64Array {
  const D = dense.headDim;
  const N = kept.position_n.length;
  const identity = (n: number): Float32Array =>
    Float32Array.from({ length: N * D }, (_, i) => (i % D === 0 && i / D === n ? 1 : 0));
  // Column n of P: attention over the kept keys of a value that is 1 at n alone.
  const columns = Array.from({ length: N }, (_, n) => outputs(query_KMD, D, kept.key_nD, identity(n)).map((row) => row[0]));
  const full = outputs(query_KMD, D, dense.key_KSD, dense.value_KSD);
  const plain = outputs(query_KMD, D, kept.key_nD, kept.value_nD);
  const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, x, i) => sum + x * b[i], 0);
  const lambda = (ridge * columns.reduce((sum, column) => sum + dot(column, column), 0)) / N;
  const L = columns.map((a, i) => columns.map((b, j) => dot(a, b) + (i === j ? lambda : 0)));
  for (let i = 0; i < N; i++) {
    for (let j = 0; j <= i; j++) {
      for (let p = 0; p < j; p++) L[i][j] -= L[i][p] * L[j][p];
      L[i][j] = i === j ? Math.sqrt(L[i][j]) : L[i][j] / L[j][j];
    }
  }
  const value = Float64Array.from(kept.value_nD);
  for (let d = 0; d < D; d++) {
    const x = columns.map((column) =>
      dot(
        column,
        full.map((row, m) => row[d] - plain[m][d]),
      ),
    );
    for (let i = 0; i < N; i++) {
      for (let p = 0; p < i; p++) x[i] -= L[i][p] * x[p];
      x[i] /= L[i][i];
    }
    for (let i = N - 1; i >= 0; i--) {
      for (let p = i + 1; p < N; p++) x[i] -= L[p][i] * x[p];
      x[i] /= L[i][i];
    }
    for (let n = 0; n < N; n++) value[n * D + d] += x[n];
  }
  return value;
}

describe("refitValues()", () => {
  test("after enough steps is the exact solution of the normal equations", async () => {
    for (const [seed, sizes] of [
      [1, [16, 4, 40]],
      [2, [9, 3, 5]],
      [3, [2, 1, 3]],
    ] as const) {
      const given = problem(createRng(seed), sizes);
      const found = await refitValues(given, { ridge: 0.03, steps: 60 }, plainMatMul);
      expect(found).toBeAllclose(refitReference(given, 0.03), { rtol: 1e-3, atol: 1e-3 });
    }
  });

  test("four steps take most of what an exact solve takes off the error", async () => {
    const given = problem(createRng(4), [64, 8, 300], 1);
    const plain = outputError(given, given.kept.value_nD);
    const exact = outputError(given, Float32Array.from(refitReference(given, 0.03)));
    const four = outputError(given, await refitValues(given, { ridge: 0.03, steps: 4 }, plainMatMul));
    expect(exact).toBeLessThan(0.5 * plain);
    expect(plain - four).toBeGreaterThan(0.9 * (plain - exact));
  });

  test("never raises the regularised error, whatever the number of steps", async () => {
    const given = problem(createRng(5), [24, 4, 30]);
    let before = outputError(given, given.kept.value_nD);
    for (const steps of [1, 2, 4, 8]) {
      const error = outputError(given, await refitValues(given, { ridge: 1e-4, steps }, plainMatMul));
      expect(error).toBeLessThanOrEqual(before * (1 + 1e-5));
      before = error;
    }
  });

  test("falls back to plain eviction with a large ridge", async () => {
    const given = problem(createRng(6), [16, 4, 40]);
    const found = await refitValues(given, { ridge: 1e6, steps: 4 }, plainMatMul);
    expect(found).toBeAllclose(given.kept.value_nD, { rtol: 0, atol: 1e-4 });
  });

  test("gives duplicates of evicted pairs their mean, which no bias is needed for when all is symmetric", async () => {
    // Keys 1, 1, 0, 0 with values 2, 4, 10, 20; of each pair one is kept: 3 and 15 reproduce everything.
    const dense = {
      ...{ numKvHeads: 1, seqLen: 4, headDim: 1 },
      ...{ key_KSD: Float32Array.of(1, 1, 0, 0), value_KSD: Float32Array.of(2, 4, 10, 20) },
    };
    const kept = gatherRagged(dense, Uint32Array.of(0, 2), Uint32Array.of(0, 2));
    const layer = { dense, kept, query_KMD: Float32Array.of(1, 0, -1, 2) };
    expect(await refitValues(layer, { ridge: 1e-9, steps: 20 }, plainMatMul)).toBeAllclose([3, 15], { rtol: 1e-3 });
  });

  test("treats every head by itself and leaves full and empty ones alone", async () => {
    const one = problem(createRng(7), [10, 3, 12]);
    const two = problem(createRng(8), [10, 3, 12]);
    const joined = (a: Float32Array, b: Float32Array): Float32Array => Float32Array.of(...a, ...b, ...b, ...a);
    const dense: DenseLayerKv = {
      ...{ numKvHeads: 4, seqLen: 10, headDim: 3 },
      key_KSD: joined(one.dense.key_KSD, two.dense.key_KSD),
      value_KSD: joined(one.dense.value_KSD, two.dense.value_KSD),
    };
    const all = Array.from({ length: 10 }, (_, s) => s);
    const positions = [...one.kept.position_n, ...two.kept.position_n, ...all];
    const kept: RaggedLayerKv = gatherRagged(dense, Uint32Array.of(0, 5, 10, 20, 20), Uint32Array.from(positions));
    const query_KMD = joined(one.query_KMD, two.query_KMD);
    const options = { ridge: 0.03, steps: 4 };
    const found = await refitValues({ dense, kept, query_KMD }, options, plainMatMul);
    expect(found.subarray(0, 15)).toEqual(await refitValues(one, options, plainMatMul));
    expect(found.subarray(15, 30)).toEqual(await refitValues(two, options, plainMatMul));
    expect(found.subarray(30)).toEqual(kept.value_nD.subarray(30));
  });

  test("leaves what it is given as it was, and values alone where there are no queries", async () => {
    const given = problem(createRng(9), [12, 2, 6]);
    const before = structuredClone(given);
    await refitValues(given, { ridge: 0.03, steps: 4 }, plainMatMul);
    expect(given).toEqual(before);
    const none = { ...given, query_KMD: new Float32Array(0) };
    expect(await refitValues(none, { ridge: 0.03, steps: 4 }, plainMatMul)).toEqual(given.kept.value_nD);
  });

  test("refuses queries of another size", async () => {
    const given = problem(createRng(1), [12, 4, 6]);
    const wrong = { ...given, query_KMD: given.query_KMD.subarray(1) };
    await expect(refitValues(wrong, { ridge: 1, steps: 1 }, plainMatMul)).rejects.toThrow(RangeError);
  });
});

describe("refit in a spec", () => {
  const text = "kvzip|global|top-k(keep=0.3)|refit(queries=repeat,m=500)|f16";

  test("stands before the codec, optional, every parameter spelled out", () => {
    const plan = resolveSpec(text);
    expect(plan.spec).toBe(
      "kvzip(chunk=2000,form=paper)|global|top-k(keep=0.3)|refit(queries=repeat,m=500,ridge=0.03,steps=4)|f16",
    );
    expect([plan.refit?.queries, plan.refit?.numQueries]).toEqual(["repeat", 500]);
    expect(resolveSpec(plan.spec).spec).toBe(plan.spec);
    expect(resolveSpec("kvzip|global|top-k|f16").refit).toBeUndefined();
  });

  test("is idle where nothing is evicted", () => {
    expect(resolveSpec(text, 1).refit).toBeUndefined();
  });

  test("needs a scorer with a repeat pass for the repeat pass's queries", () => {
    for (const queries of ["repeat", "both"]) {
      expect(() => resolveSpec(`l2norm|global|top-k|refit(queries=${queries})|f16`)).toThrow(
        expect.objectContaining({ code: "SPEC_INVALID" }),
      );
    }
    expect(resolveSpec("l2norm|global|top-k|refit|f16").refit?.queries).toBe("own");
  });

  test("changes the values that are encoded, and nothing else", async () => {
    const given = problem(createRng(3), [12, 4, 20]);
    const rows = await refitRows(resolveSpec(text).refit!, given.dense, given.kept, given.query_KMD);
    expect(rows.value_nD).not.toEqual(given.kept.value_nD);
    expect({ ...rows, value_nD: given.kept.value_nD }).toEqual(given.kept);
  });
});
