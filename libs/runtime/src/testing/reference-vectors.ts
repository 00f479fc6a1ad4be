/**
 * The committed reference vectors (tests/fixtures, made with another implementation) in the
 * forms our tests compare with.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { alignedView, decodeF16, decodeSafetensors, type NamedTensor } from "@kvault/core";

const FOLDER = new URL("../../../../tests/fixtures/", import.meta.url);

export interface ReferenceVectors {
  readonly name: string;
  /** Prefix and context. */
  readonly contextIds: Int32Array;
  readonly prefixTokens: number;
  /** The context as text, template not included. */
  readonly context: string;
  readonly questions: readonly string[];
  readonly expected: readonly string[];
  /** Question and template postfix, per question. */
  readonly questionIds: readonly Int32Array[];
  readonly suffixIds: Int32Array;
  readonly repeatPromptIds: { readonly first: Int32Array; readonly next: Int32Array };
  /** Greedy answers by method, e.g. `full`, `kvzip.chunk2048@keep0.3`. */
  answers(method: string): readonly string[];
  readonly topIds: Int32Array;
  readonly topLogits: Float32Array;
  /** Layers whose keys and values are there. */
  readonly kvLayers: readonly number[];
  /** `[K, S, D]`. */
  kv(kind: "keys" | "values", layer: number): Float32Array;
  /** `[L, K, S]`. */
  score(method: string): Float32Array;
  /** `[L, K, S]`, 1 where kept. */
  kept(method: string): Uint8Array;
}

export function readReferenceVectors(name: string): ReferenceVectors {
  const json = JSON.parse(readFileSync(new URL(`${name}.json`, FOLDER), "utf8"));
  const { tensors } = decodeSafetensors(readFileSync(new URL(`${name}.safetensors`, FOLDER)));
  const tensor = (key: string): NamedTensor => {
    const found = tensors.get(key);
    if (found === undefined) throw new RangeError(`Cannot read reference vector "${key}" of "${name}"`);
    return found;
  };
  const ints = (key: string): Int32Array => alignedView(tensor(key).data, Int32Array);
  const questions: string[] = json.questions;
  return {
    name,
    contextIds: ints("context_ids"),
    prefixTokens: json.prefix_length,
    context: json.context,
    questions,
    expected: json.expected,
    questionIds: questions.map((_, i) => ints(`question_ids.${i}`)),
    suffixIds: Int32Array.from(json.suffix_ids),
    repeatPromptIds: {
      first: Int32Array.from(json.repeat_prompt_ids.first),
      next: Int32Array.from(json.repeat_prompt_ids.next),
    },
    answers: (method) => json.results[method].answers,
    topIds: ints("last_logits_top100.ids"),
    topLogits: alignedView(tensor("last_logits_top100.values").data, Float32Array),
    kvLayers: [...tensors.keys()].filter((key) => key.startsWith("keys.")).map((key) => Number(key.slice("keys.".length))),
    kv: (kind, layer) => decodeF16(alignedView(tensor(`${kind}.${layer}`).data, Uint16Array)),
    score: (method) => alignedView(tensor(`score.${method}`).data, Float32Array),
    kept: (method) => tensor(`kept.${method}`).data,
  };
}
