/**
 * The pre-norm gated decoder with rotary positions that Llama and its relatives share.
 *
 * Per layer: x += Wo·attend(rope(Wq·n), rope(Wk·n), Wv·n) with n = rmsNorm(x), then
 * x += Wdown·(act(Wgate·m) ⊙ Wup·m) with m = rmsNorm(x). What families add is told by their
 * {@link DecoderTraits}: biases, norms of queries and keys per head, norms after each of the two
 * sums' terms, another activation, scaled embeddings.
 *
 * Queries leave here scaled so that their logits are q·k/√D whatever the model's own scale is.
 *
 * @module
 */
import type { DecoderInputs, WeightPlan } from "../families/family.ts";
import { windowOf } from "../rope.ts";
import type { ModelConfig } from "../types.ts";
import type { GraphBuilder, Value } from "./graph-builder.ts";
import { embed, linear } from "./linear.ts";

export interface RotationTables {
  readonly cos: string;
  readonly sin: string;
}

const GLOBAL_ROTATION: RotationTables = { cos: "rope.cos", sin: "rope.sin" };
const WINDOWED_ROTATION: RotationTables = { cos: "rope.window.cos", sin: "rope.window.sin" };

/** Names of the weights that hold a layer's cosines and sines, `[maxTokens, D/2]`. */
export function rotationTables(config: ModelConfig, layer: number): RotationTables {
  return windowOf(config, layer) === undefined ? GLOBAL_ROTATION : WINDOWED_ROTATION;
}

export interface DecoderTraits {
  /** A GGUF's query and key rows are in interleaved-RoPE order. */
  readonly interleavedRows?: true;
  readonly attentionBias?: true;
  /** Queries and keys are RMS-normed per head before rotation. */
  readonly queryKeyNorm?: true;
  /** What attention and feed-forward give is RMS-normed before it is added. */
  readonly postNorms?: true;
  /** Of the gate. @default "silu" */
  readonly activation?: "silu" | "gelu";
  /** Embeddings are multiplied by √M. */
  readonly scaleEmbeddings?: true;
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
    const vectors = [
      ...(traits.attentionBias ? ["attn_q.bias", "attn_k.bias", "attn_v.bias"] : []),
      ...(traits.queryKeyNorm ? ["attn_q_norm.weight", "attn_k_norm.weight"] : []),
      ...(traits.postNorms ? ["post_attention_norm.weight", "post_ffw_norm.weight"] : []),
    ];
    for (const name of vectors) plans.push({ name: `${block}${name}`, form: "vector" });
  }
  return plans;
}

/** Writes the decoder; returns logits `[rows, V]`. */
export function buildDecoder(graph: GraphBuilder, config: ModelConfig, inputs: DecoderInputs, traits: DecoderTraits): Value {
  const { numQueryHeads, numKvHeads, headDim, hiddenSize } = config;
  const norm = (x: Value, weight: string): Value =>
    graph.node("SimplifiedLayerNormalization", [x, graph.weight(weight)], { epsilon: { float: config.rmsEpsilon }, axis: -1 });
  const normHeads = (x: Value, numHeads: number, weight: string): Value =>
    graph.reshape(norm(graph.reshape(x, 0, 0, numHeads, headDim), weight), 0, 0, numHeads * headDim);
  const scaled = (x: Value, factor: number): Value =>
    Math.abs(factor - 1) < 1e-12 ? x : graph.node("Mul", [x, graph.scalarFloat(factor)]);
  const queryScale = config.attentionScale === undefined ? 1 : config.attentionScale * Math.sqrt(headDim);
  const activate = (gate: Value): Value =>
    traits.activation === "gelu"
      ? graph.node("Gelu", [gate], { approximate: "tanh" })
      : graph.node("Mul", [gate, graph.node("Sigmoid", [gate])]);

  let x = scaled(embed(graph, inputs.ids, "token_embd.weight"), traits.scaleEmbeddings ? Math.sqrt(hiddenSize) : 1);
  for (let layer = 0; layer < config.numLayers; layer++) {
    const block = `blk.${layer}.`;
    const { cos, sin } = rotationTables(config, layer);
    const project = (input: Value, name: string): Value => {
      const y = linear(graph, input, `${block}${name}.weight`);
      return traits.attentionBias ? graph.add(y, graph.weight(`${block}${name}.bias`)) : y;
    };
    const rotated = (input: Value, name: string, numHeads: number): Value => {
      const y = project(input, name);
      const heads = traits.queryKeyNorm ? normHeads(y, numHeads, `${block}${name}_norm.weight`) : y;
      return graph.microsoft("RotaryEmbedding", [heads, inputs.positions, graph.weight(cos), graph.weight(sin)], {
        interleaved: 0,
        num_heads: numHeads,
      });
    };
    const addTo = (sum: Value, term: Value, postNorm: string): Value =>
      graph.add(sum, traits.postNorms ? norm(term, `${block}${postNorm}.weight`) : term);

    const n = norm(x, `${block}attn_norm.weight`);
    const q = scaled(rotated(n, "attn_q", numQueryHeads), queryScale);
    const k = rotated(n, "attn_k", numKvHeads);
    const v = project(n, "attn_v");
    const projectOut = (attended: Value): Value => linear(graph, attended, `${block}attn_output.weight`);
    const attended = inputs.attend(layer, { q, k, v, hidden: n, project: projectOut });
    x = addTo(x, projectOut(attended), "post_attention_norm");
    const m = norm(x, `${block}ffn_norm.weight`);
    const gate = activate(linear(graph, m, `${block}ffn_gate.weight`));
    const up = linear(graph, m, `${block}ffn_up.weight`);
    const down = linear(graph, graph.node("Mul", [gate, up]), `${block}ffn_down.weight`);
    x = addTo(x, down, "post_ffw_norm");
  }
  const rows = norm(inputs.selectRows(x), "output_norm.weight");
  return linear(graph, rows, graph.hasMatrix("output.weight") ? "output.weight" : "token_embd.weight");
}
