/**
 * Tensor names of published model folders → GGUF names. What a family calls otherwise is its own
 * to say ({@link HuggingFaceTraits}); tensors without a GGUF name (vision towers, rotary buffers)
 * are left alone.
 *
 * @module
 */
import type { HuggingFaceTraits } from "../families/family.ts";

const LAYER_PARTS: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  post_attention_layernorm: "ffn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
};

const OTHERS: Readonly<Record<string, string>> = {
  "embed_tokens.weight": "token_embd.weight",
  "norm.weight": "output_norm.weight",
  "lm_head.weight": "output.weight",
};

/** The decoder inside a multimodal model, and the decoder alone. */
const PREFIX = /^(?:language_model\.model\.|model\.language_model\.|language_model\.|model\.)/;

/** The GGUF name, or undefined for a tensor that the decoder does not use. */
export function ggufName(name: string, { layerParts }: HuggingFaceTraits): string | undefined {
  const bare = name.replace(PREFIX, "");
  const other = OTHERS[bare];
  if (other !== undefined) return other;
  const [, layer, part, kind] = /^layers\.(\d+)\.(.+)\.(weight|bias)$/.exec(bare) ?? [];
  if (layer === undefined || part === undefined) return undefined;
  const ours = layerParts?.[part] ?? LAYER_PARTS[part];
  return ours === undefined ? undefined : `blk.${Number(layer)}.${ours}.${kind}`;
}
