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
    name: "kvault",
    summary: "our default: predicted KVzip scores, refitted values, keys quantised before rotation",
    source: "own",
    spec: "surrogate|global|top-k(keep=0.3)|refit(queries=own)|pre-rope(keys=8,values=4)",
  },
  {
    name: "kvault-max",
    summary: "our best: KVzip scores, values refitted to the repeat pass's queries",
    source: "own",
    spec: "kvzip|global|top-k(keep=0.3)|refit(queries=repeat)|pre-rope(keys=8,values=4)",
  },
  {
    name: "kvault-small",
    summary: "our smallest: as kvault, a fifth kept, 4-bit keys and values",
    source: "own",
    spec: "surrogate|global|top-k(keep=0.2)|refit(queries=own)|pre-rope(keys=4,values=4)",
  },
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
    name: "kvzip-plus",
    summary: "KVzip's attention weighed by what each value adds, best pairs of the whole cache",
    source: "arXiv:2601.07891",
    spec: "kvzip-plus|global|top-k(keep=0.3)|f16",
  },
  {
    name: "kvzip-uniform",
    summary: "KVzip scores, the same count for every layer and head",
    source: "arXiv:2505.23416",
    spec: "kvzip|uniform|top-k(keep=0.3)|f16",
  },
  {
    name: "kvzip-head",
    summary: "whole heads by their KVzip score on one text, nothing scored per context",
    source: "arXiv:2505.23416",
    spec: "kvzip-head|global|top-k(keep=0.6)|f16",
  },
  {
    name: "kvzap",
    summary: "KVzip scores predicted from hidden states, kept above a threshold, the last 128 tokens always",
    source: "arXiv:2601.07891",
    spec: "surrogate(recent=128)|global|threshold(at=-4)|f16",
  },
  {
    name: "kvcompose",
    summary: "repeat attention, rectangular layers in which every head keeps its own tokens",
    source: "arXiv:2509.05165",
    spec: "kvcompose|kvcompose|top-k(keep=0.3)|f16",
  },
  {
    name: "expected-attention",
    summary: "attention of Gaussian queries to come; heads of a layer compete",
    source: "arXiv:2510.00636",
    spec: "expected-attention|ada-kv|top-k(keep=0.5)|f16",
  },
  {
    name: "compresskv",
    summary: "retrieval heads vote for their layer, layers by their eviction error; attention of the context's last tokens",
    source: "arXiv:2508.02401",
    spec: "compresskv|layer-profile|top-k(keep=0.5)|f16",
  },
  {
    name: "snapkv",
    summary: "attention of the context's last tokens, the same count for every head",
    source: "arXiv:2404.14469",
    spec: "snapkv|uniform|top-k(keep=0.5)|f16",
  },
  {
    name: "pyramidkv",
    summary: "attention of the context's last tokens, less for later layers",
    source: "arXiv:2406.02069",
    spec: "snapkv|pyramid|top-k(keep=0.5)|f16",
  },
  {
    name: "adakv",
    summary: "attention of the context's last tokens, heads of a layer compete",
    source: "arXiv:2407.11550",
    spec: "snapkv(window=32,kernel=7,pooling=max)|ada-kv|top-k(keep=0.5)|f16",
  },
  {
    name: "kv-compress",
    summary: "attention of the context's last tokens, whole pages freed (attention summed, where the paper sums its square)",
    source: "arXiv:2410.00161",
    spec: "snapkv(window=32,kernel=7,pooling=max)|kv-compress|top-k(keep=0.5)|f16",
  },
  {
    name: "h2o",
    summary: "mean attention received from later tokens",
    source: "arXiv:2306.14048",
    spec: "h2o|uniform|top-k(keep=0.5)|f16",
  },
  {
    name: "tova",
    summary: "attention of the context's last token, one ranking per layer",
    source: "arXiv:2401.06104",
    spec: "tova|uniform|top-k(keep=0.5)|f16",
  },
  {
    name: "r-kv",
    summary: "attention of the context's last tokens less redundancy of keys",
    source: "arXiv:2505.24133",
    spec: "r-kv|uniform|top-k(keep=0.5)|f16",
  },
  {
    name: "keydiff",
    summary: "keys unlike the others",
    source: "arXiv:2504.15364",
    spec: "keydiff|uniform|top-k(keep=0.5)|f16",
  },
  {
    name: "lagkv",
    summary: "keys and values that vary from the next block of tokens",
    source: "arXiv:2504.04704",
    spec: "lagkv|uniform|top-k(keep=0.5)|f16",
  },
  {
    name: "chunkkv",
    summary: "whole chunks of text by the attention of the context's last tokens, the same for a layer",
    source: "arXiv:2502.00299",
    spec: "snapkv|uniform|chunk(keep=0.5)|f16",
  },
  {
    name: "duo-attention",
    summary: "retrieval heads whole, the others first and last tokens; heads by KVzip's profile",
    source: "arXiv:2410.10819",
    spec: "streaming-llm(sinks=64)|duo|top-k(keep=0.6)|f16",
  },
  {
    name: "baklava",
    summary: "KVzip scores, heads by their importance in calibration (reconstruction)",
    source: "arXiv:2502.13176",
    spec: "kvzip|head-profile|top-k(keep=0.3)|f16",
  },
  {
    name: "dbudgetkv",
    summary: "KVzip scores, every head until 1% of its score mass is lost (reconstruction)",
    source: "arXiv:2502.16886",
    spec: "kvzip|dbudget|top-k(keep=1)|f16",
  },
  {
    name: "leankv",
    summary: "KVzip scores, pairs above a share of their head's mean, precision by score (reconstruction)",
    source: "arXiv:2412.03131",
    spec: "kvzip|leankv|top-k(keep=0.5)|leankv",
  },
  {
    name: "kvsharer",
    summary: "everything kept, but a few layers read another layer's keys and values",
    source: "arXiv:2410.18517",
    spec: "none|kvsharer|top-k(keep=1)|f16",
  },
  {
    name: "kivi",
    summary: "everything kept, 4-bit keys per channel and values per token, recent tokens in f16",
    source: "arXiv:2402.02750",
    spec: "none|uniform|top-k(keep=1)|kivi",
  },
  {
    name: "kivi-2",
    summary: "everything kept, KIVI at 2 bits",
    source: "arXiv:2402.02750",
    spec: "none|uniform|top-k(keep=1)|kivi(bits=2)",
  },
  {
    name: "clusterkv",
    summary: "everything kept in clusters of keys; a new token reads 1,024 pairs of each head at most",
    source: "arXiv:2412.03213",
    spec: "none|uniform|top-k(keep=1)|clusterkv",
  },
  {
    name: "cachegen",
    summary: "everything kept, quantised before rotation and entropy-coded (our format)",
    source: "arXiv:2310.07240",
    spec: "none|uniform|top-k(keep=1)|entropy",
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
