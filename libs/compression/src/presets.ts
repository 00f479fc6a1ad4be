/**
 * Published systems and our defaults by name: each is nothing but a spec.
 *
 * @module
 */

/** A named spec. */
export interface Preset {
  readonly name: string;
  readonly summary: string;
  /** Where the composition is from. */
  readonly source: string;
  readonly spec: string;
}

const LIST: readonly Preset[] = [
  {
    name: "none",
    summary: "everything kept, in half precision",
    source: "own",
    spec: "none|uniform|top-k(keep=1)|f16",
  },
  {
    name: "kvzip",
    summary: "what the model looks at while repeating the context, best pairs of the whole cache",
    source: "arXiv:2505.23416",
    spec: "kvzip|global|top-k(keep=0.3)|f16",
  },
  {
    name: "kvzip-uniform",
    summary: "KVzip scores, the same count for every layer and head",
    source: "arXiv:2505.23416",
    spec: "kvzip|uniform|top-k(keep=0.3)|f16",
  },
  {
    name: "l2norm",
    summary: "keys of small norm, the same count for every layer and head",
    source: "arXiv:2406.11430",
    spec: "l2norm|uniform|top-k(keep=0.5)|f16",
  },
  {
    name: "streaming-llm",
    summary: "first and most recent positions; a floor to compare with",
    source: "arXiv:2309.17453",
    spec: "streaming-llm|uniform|top-k(keep=0.5)|f16",
  },
];

export const PRESETS: ReadonlyMap<string, Preset> = new Map(LIST.map((preset) => [preset.name, preset]));
