/** Agreement with an independent implementation: see tests/fixtures/README.md. */
import { readFileSync } from "node:fs";
import { alignedView, decodeF16, decodeSafetensors, type NamedTensor } from "@kvault/core";
import { spearman, toBeAllclose } from "@kvault/core/testing";
import { describe, expect, test } from "vitest";
import { scorerFromSpec } from "./plan.ts";
import { ALLOCATORS, SELECTORS } from "./registry.ts";
import { planRepeat } from "./scorers/kvzip.ts";
import { createDefault } from "./testing/check.ts";
import type { ScorerLayer } from "./types.ts";

expect.extend({ toBeAllclose });

/** The reference protects these and nothing more of the prefix. */
const SINKS = 4;
const MODELS = ["qwen2.5-coder-0.5b", "smollm2-135m"] as const;

interface Outline {
  readonly prefix_length: number;
  readonly suffix_ids: readonly number[];
  readonly repeat_prompt_ids: { readonly first: readonly number[]; readonly next: readonly number[] };
}

function open(model: (typeof MODELS)[number]) {
  const at = (extension: string): URL => new URL(`../../../tests/fixtures/${model}.${extension}`, import.meta.url);
  const { tensors } = decodeSafetensors(readFileSync(at("safetensors")));
  const outline = JSON.parse(readFileSync(at("json"), "utf8")) as Outline;
  const tensor = (name: string): NamedTensor => tensors.get(name)!;
  const f32 = (name: string): Float32Array => alignedView(tensor(name).data, Float32Array);
  const [numLayers, numKvHeads, seqLen] = tensor("score.knorm").shape;
  return { outline, tensors, tensor, f32, numLayers, numKvHeads, seqLen, headDim: tensor("keys.0").shape[2] };
}

function scoresOf(spec: string, layer: ScorerLayer): Float32Array {
  const out_KS = new Float32Array(layer.numKvHeads * layer.seqLen);
  scorerFromSpec(spec).scorer.score(layer, out_KS);
  return out_KS;
}

describe.each(MODELS)("%s", (model) => {
  const reference = open(model);
  const { outline, tensors, tensor, f32, numLayers, numKvHeads, seqLen, headDim } = reference;
  const prefixTokens = outline.prefix_length;
  const layerOf = (layer: number): ScorerLayer => ({ layer, numLayers, numKvHeads, seqLen, headDim, prefixTokens });
  const perLayer = numKvHeads * seqLen;
  const kvLayers = [...tensors.keys()]
    .filter((name) => name.startsWith("keys."))
    .map((name) => Number(name.slice("keys.".length)));

  test("l2norm scores the reference's keys as its knorm does, to half precision of the keys", () => {
    expect(kvLayers).toHaveLength(3);
    for (const layer of kvLayers) {
      const key_KSD = decodeF16(alignedView(tensor(`keys.${layer}`).data, Uint16Array));
      const expected = f32("score.knorm").subarray(layer * perLayer, (layer + 1) * perLayer);
      expect(scoresOf("l2norm", { ...layerOf(layer), key_KSD })).toBeAllclose(expected, { rtol: 2 ** -11, atol: 1e-6 });
    }
  });

  test("keydiff scores the reference's keys as it does, to half precision of the keys", () => {
    for (const layer of kvLayers) {
      const key_KSD = decodeF16(alignedView(tensor(`keys.${layer}`).data, Uint16Array));
      const expected = f32("score.keydiff").subarray(layer * perLayer, (layer + 1) * perLayer);
      expect(scoresOf("keydiff", { ...layerOf(layer), key_KSD })).toBeAllclose(expected, { rtol: 0, atol: 5e-4 });
    }
  });

  test("lagkv ranks the reference's keys and values as it does, but for ties that halves make", () => {
    for (const layer of kvLayers) {
      const key_KSD = decodeF16(alignedView(tensor(`keys.${layer}`).data, Uint16Array));
      const value_KSD = decodeF16(alignedView(tensor(`values.${layer}`).data, Uint16Array));
      const expected = f32("score.lagkv").subarray(layer * perLayer, (layer + 1) * perLayer);
      const found = scoresOf("lagkv", { ...layerOf(layer), key_KSD, value_KSD });
      for (let k = 0; k < numKvHeads; k++) {
        const row = (scores: Float32Array): Float32Array => scores.subarray(k * seqLen, (k + 1) * seqLen);
        expect(spearman(row(found), row(expected))).toBeGreaterThan(0.999);
      }
    }
  });

  test("streaming-llm ranks the positions its reference keeps above all others", () => {
    const kept = f32("score.streaming_llm");
    const scores = scoresOf("streaming-llm", layerOf(0));
    for (let row = 0; row < numLayers * numKvHeads; row++) {
      const expected = [...kept.subarray(row * seqLen, (row + 1) * seqLen).entries()].filter(([, one]) => one === 1);
      expect(expected).toHaveLength(Math.trunc(seqLen / 2));
      const k = row % numKvHeads;
      const found = createDefault(SELECTORS.get("top-k")!).select(
        scores.subarray(k * seqLen, (k + 1) * seqLen),
        0,
        expected.length,
      );
      expect([...found]).toEqual(expected.map(([s]) => s));
    }
  });

  test.each([
    [2048, 0.3],
    [2048, 0.5],
    [256, 0.3],
    [256, 0.5],
  ])("global and top-k keep the pairs its KVzip keeps of chunk %i at %d, every one", (chunk, keepRatio) => {
    const score_LKS = f32(`score.kvzip.chunk${chunk}`);
    const kept = tensor(`kept.kvzip.chunk${chunk}.keep${keepRatio}`).data;
    const numRows = numLayers * numKvHeads;
    const total = score_LKS.length - Math.trunc(score_LKS.length * (1 - keepRatio));
    const scores = { numLayers, numKvHeads, seqLen, headDim, score_LKS };
    const headBudget_LK = createDefault(ALLOCATORS.get("global")!).allocate(scores, SINKS, total - numRows * SINKS);
    const found = new Uint8Array(score_LKS.length);
    for (let row = 0; row < numRows; row++) {
      const score_S = score_LKS.subarray(row * seqLen, (row + 1) * seqLen);
      for (const s of createDefault(SELECTORS.get("top-k")!).select(score_S, SINKS, headBudget_LK[row]))
        found[row * seqLen + s] = 1;
    }
    expect(found.reduce((count, one) => count + one, 0)).toBe(total);
    let differing = 0;
    for (let i = 0; i < found.length; i++) if (found[i] !== kept[i]) differing++;
    expect(differing).toBe(0);
  });

  test("kvzip's own form of the scores is the reference's: 0 in the whole prefix", () => {
    const score_KS = f32("score.kvzip.chunk256").subarray(0, perLayer);
    expect(scoresOf("kvzip(chunk=256,form=kvpress)", { ...layerOf(0), repeatAttention_KS: score_KS })).toEqual(score_KS);
    expect(score_KS.subarray(0, prefixTokens).every((score) => score === 0)).toBe(true);
  });

  test("the repeat inputs begin with the reference's prompt ids", () => {
    const prompts = new Map([
      ["\n\nRepeat the previous context exactly.", outline.repeat_prompt_ids.first],
      ["\n\nRepeat the part of the previous context exactly, starting with", outline.repeat_prompt_ids.next],
    ]);
    const contextIds = alignedView(tensor("context_ids").data, Int32Array).subarray(prefixTokens);
    const { repeatPass } = scorerFromSpec("kvzip(chunk=256,form=kvpress)").scorer;
    const postfixIds = Int32Array.from(outline.suffix_ids);
    const chunks = planRepeat(repeatPass!, {
      contextIds,
      prefixTokens,
      postfixIds,
      encode: (text) => Int32Array.from(prompts.get(text)!),
    });
    expect(chunks.map(({ start, end, sinkTokens }) => [start, end, sinkTokens])).toEqual([
      [prefixTokens, prefixTokens + 256, 4],
      [prefixTokens + 256, seqLen, 4],
    ]);
    expect([...chunks[1].inputIds]).toEqual([
      ...outline.repeat_prompt_ids.next,
      ...contextIds.subarray(248, 256),
      ...outline.suffix_ids,
      ...contextIds.subarray(256),
    ]);
  });
});
