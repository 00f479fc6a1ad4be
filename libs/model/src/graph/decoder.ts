/**
 * The pre-norm decoder with SwiGLU and rotary positions that Llama and its relatives share.
 *
 * Per layer: x += Wo·attend(rope(Wq·n), rope(Wk·n), Wv·n) with n = rmsNorm(x), then
 * x += Wdown·(silu(Wgate·m) ⊙ Wup·m) with m = rmsNorm(x). Families differ in biases and row
 * order only, which show in the weights: a bias is added where the weights file has one.
 *
 * @module
 */
import type { DecoderInputs, WeightPlan } from "../families/family.ts";
import type { ModelConfig } from "../types.ts";
import type { GraphBuilder, Value } from "./graph-builder.ts";
import { embed, linear } from "./linear.ts";

export const ROPE_COS = "rope.cos";
export const ROPE_SIN = "rope.sin";

export interface DecoderTraits {
  /** Query and key rows are in interleaved-RoPE order. */
  readonly interleavedRows: boolean;
  readonly attentionBias: boolean;
}

/** GGUF tensors of the decoder; `output.weight` is absent where embeddings are tied. */
export function decoderWeights(config: ModelConfig, traits: DecoderTraits): WeightPlan[] {
  const plans: WeightPlan[] = [
    { name: "token_embd.weight", form: "embedding" },
    { name: "output.weight", form: "linear", optional: true },
    { name: "output_norm.weight", form: "vector" },
  ];
  const rows = traits.interleavedRows ? { interleavedHeadDim: config.headDim } : {};
  for (let layer = 0; layer < config.numLayers; layer++) {
    const block = `blk.${layer}.`;
    plans.push(
      { name: `${block}attn_norm.weight`, form: "vector" },
      { name: `${block}attn_q.weight`, form: "linear", ...rows },
      { name: `${block}attn_k.weight`, form: "linear", ...rows },
      { name: `${block}attn_v.weight`, form: "linear" },
      { name: `${block}attn_output.weight`, form: "linear" },
      { name: `${block}ffn_norm.weight`, form: "vector" },
      { name: `${block}ffn_gate.weight`, form: "linear" },
      { name: `${block}ffn_up.weight`, form: "linear" },
      { name: `${block}ffn_down.weight`, form: "linear" },
    );
    if (traits.attentionBias) {
      for (const part of ["q", "k", "v"]) plans.push({ name: `${block}attn_${part}.bias`, form: "vector" });
    }
  }
  return plans;
}

/** Writes the decoder; returns logits `[rows, V]`. */
export function buildDecoder(graph: GraphBuilder, config: ModelConfig, inputs: DecoderInputs): Value {
  const norm = (x: Value, weight: string): Value =>
    graph.node("SimplifiedLayerNormalization", [x, graph.weight(weight)], { epsilon: { float: config.rmsEpsilon }, axis: -1 });
  const rope = (x: Value, numHeads: number): Value =>
    graph.microsoft("RotaryEmbedding", [x, inputs.positions, graph.weight(ROPE_COS), graph.weight(ROPE_SIN)], {
      interleaved: 0,
      num_heads: numHeads,
    });
  const project = (x: Value, name: string): Value => {
    const y = linear(graph, x, `${name}.weight`);
    return graph.hasWeight(`${name}.bias`) ? graph.add(y, graph.weight(`${name}.bias`)) : y;
  };

  let x = embed(graph, inputs.ids, "token_embd.weight");
  for (let layer = 0; layer < config.numLayers; layer++) {
    const block = `blk.${layer}.`;
    const n = norm(x, `${block}attn_norm.weight`);
    const q = rope(project(n, `${block}attn_q`), config.numQueryHeads);
    const k = rope(project(n, `${block}attn_k`), config.numKvHeads);
    const v = project(n, `${block}attn_v`);
    x = graph.add(x, linear(graph, inputs.attend(layer, { q, k, v, hidden: n }), `${block}attn_output.weight`));
    const m = norm(x, `${block}ffn_norm.weight`);
    const gate = linear(graph, m, `${block}ffn_gate.weight`);
    const silu = graph.node("Mul", [gate, graph.node("Sigmoid", [gate])]);
    const up = linear(graph, m, `${block}ffn_up.weight`);
    x = graph.add(x, linear(graph, graph.node("Mul", [silu, up]), `${block}ffn_down.weight`));
  }
  const rows = norm(inputs.selectRows(x), "output_norm.weight");
  return linear(graph, rows, graph.hasMatrix("output.weight") ? "output.weight" : "token_embd.weight");
}
