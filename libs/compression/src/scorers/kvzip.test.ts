import { createRng } from "@kvault/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createDefault } from "../testing/check.ts";
import { repeatAttentionReference } from "../testing/repeat-attention-reference.ts";
import { kvzip, planRepeat, type RepeatInput } from "./kvzip.ts";

/** The worked example: one KV head of two query heads, one sink, three scored keys, a repeat of two tokens. */
const head = {
  headDim: 2,
  query_GTD: [0, 2, 2, 0, 1, 1, 0, 1],
  sinkKey_nD: [1, 0],
  chunkKey_nD: [0, 2, 2, 0, 1, 1],
  repeatKey_TD: [0, 1, 1, 0],
};

function randomHead(seed: number, G: number, T: number): typeof head {
  const rng = createRng(seed);
  const values = (length: number): number[] => Array.from({ length }, () => 4 * rng.next() - 2);
  return {
    headDim: 4,
    query_GTD: values(G * T * 4),
    sinkKey_nD: values(8),
    chunkKey_nD: values(20),
    repeatKey_TD: values(T * 4),
  };
}

describe("repeatAttentionReference()", () => {
  test("gives the worked example's maxima", () => {
    const score_n = repeatAttentionReference(head);
    expect([...score_n].map((score) => score.toFixed(4))).toEqual(["0.6233", "0.5413", "0.2509"]);
  });

  test("only rises with more query heads and stays a probability", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 5 }), (seed, T) => {
        const both = randomHead(seed, 2, T);
        const one = { ...both, query_GTD: both.query_GTD.slice(0, T * 4) };
        const fewer = repeatAttentionReference(one);
        repeatAttentionReference(both).forEach((score, s) => {
          expect(score).toBeGreaterThanOrEqual(fewer[s]);
          expect(score).toBeGreaterThan(0);
          expect(score).toBeLessThanOrEqual(1);
        });
      }),
      { numRuns: 30 },
    );
  });
});

describe("kvzip", () => {
  test("scores what the repeat pass saw and nothing in the prefix", () => {
    const out_KS = new Float32Array(4);
    const repeatAttention_KS = Float32Array.of(0.7, ...repeatAttentionReference(head));
    createDefault(kvzip).score(
      { layer: 0, numLayers: 1, numKvHeads: 1, seqLen: 4, headDim: 2, prefixTokens: 1, repeatAttention_KS },
      out_KS,
    );
    expect(out_KS[0]).toBe(0);
    expect(out_KS.subarray(1)).toEqual(repeatAttention_KS.subarray(1));
  });

  test("has the whole prefix as sinks in the paper's form and at most four of it in kvpress'", () => {
    const paper = kvzip.create({ chunk: 2000, form: "paper" }).repeatPass!;
    const kvpress = kvzip.create({ chunk: 2048, form: "kvpress" }).repeatPass!;
    expect([0, 3, 24].map((prefix) => paper.sinkTokens(prefix))).toEqual([0, 3, 24]);
    expect([0, 3, 24].map((prefix) => kvpress.sinkTokens(prefix))).toEqual([0, 3, 4]);
    expect(kvpress.chunkTokens).toBe(2048);
  });
});

const POSTFIX = Int32Array.of(901, 902);
/** Ids no context has: one per character, so that a missing space shows. */
const encode = (text: string): Int32Array => Int32Array.from(text, (character) => 1000 + character.charCodeAt(0));

function inputOf(contextTokens: number, prefixTokens = 24): RepeatInput {
  return { contextIds: Int32Array.from({ length: contextTokens }, (_, i) => i), prefixTokens, postfixIds: POSTFIX, encode };
}

function planOf(params: { chunk: number; form: string }, input: RepeatInput) {
  return planRepeat(kvzip.create(params).repeatPass!, input);
}

describe("planRepeat()", () => {
  test("asks for the whole context at once when it fits one chunk", () => {
    const chunks = planOf({ chunk: 2000, form: "paper" }, inputOf(2000));
    expect(chunks).toHaveLength(1);
    expect(chunks[0]).toMatchObject({ start: 24, end: 2024, sinkTokens: 24 });
    expect([...chunks[0].inputIds]).toEqual([
      ...encode("\n\nRepeat the previous context exactly."),
      ...POSTFIX,
      ...inputOf(2000).contextIds,
    ]);
  });

  test("primes later chunks with the last eight ids before them", () => {
    const chunks = planOf({ chunk: 20, form: "paper" }, inputOf(50, 3));
    expect(chunks.map(({ start, end, sinkTokens }) => [start, end, sinkTokens])).toEqual([
      [3, 23, 3],
      [23, 43, 3],
      [43, 53, 3],
    ]);
    expect([...chunks[2].inputIds]).toEqual([
      ...encode("\n\nRepeat the part of the previous context exactly, starting with "),
      ...[32, 33, 34, 35, 36, 37, 38, 39],
      ...POSTFIX,
      ...[40, 41, 42, 43, 44, 45, 46, 47, 48, 49],
    ]);
  });

  test("leaves out the trailing space in kvpress' form", () => {
    const [, second] = planOf({ chunk: 20, form: "kvpress" }, inputOf(40));
    const prompt = encode("\n\nRepeat the part of the previous context exactly, starting with");
    expect([...second.inputIds.subarray(0, prompt.length + 1)]).toEqual([...prompt, 12]);
    expect(second.sinkTokens).toBe(4);
  });

  test("tiles the context for any length", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 16, max: 100 }), (contextTokens, chunk) => {
        const chunks = planOf({ chunk, form: "paper" }, inputOf(contextTokens, 5));
        expect(chunks).toHaveLength(Math.ceil(contextTokens / chunk));
        let position = 5;
        for (const { start, end, inputIds } of chunks) {
          expect(start).toBe(position);
          expect([...inputIds.slice(start - end)]).toEqual(Array.from({ length: end - start }, (_, i) => start - 5 + i));
          position = end;
        }
        expect(position).toBe(5 + contextTokens);
      }),
    );
  });
});
