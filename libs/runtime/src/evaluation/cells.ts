/**
 * The cells of the accuracy table, the most telling first: what is not reached in the time there
 * is stays unmeasured and is listed as such.
 *
 * @module
 */

export interface Cell {
  readonly name: string;
  readonly spec: string;
}

const KEEPS = [0.3, 0.2, 0.5, 0.15, 0.1] as const;
const REFIT = { own: "refit(queries=own)|", repeat: "refit(queries=repeat)|", none: "" } as const;
const DEFAULT_CODEC = "pre-rope(keys=8,values=4)";

const cell = (scorer: string, keep: number, refit: keyof typeof REFIT, codec = "f32", allocator = "global"): Cell => ({
  name: `${scorer} ${keep}${refit === "none" ? "" : ` refit ${refit}`}${codec === "f32" ? "" : ` ${codec}`}`,
  spec: `${scorer}|${allocator}|top-k(keep=${keep})|${REFIT[refit]}${codec}`,
});

/** Every cell in order of importance; the first keeps everything. */
export const CELLS: readonly Cell[] = unique([
  { name: "full", spec: "none|uniform|top-k(keep=1)|f32" },
  cell("kvzip", 0.3, "none"),
  cell("surrogate", 0.3, "own", DEFAULT_CODEC),
  cell("surrogate", 0.3, "own"),
  cell("surrogate", 0.3, "none"),
  cell("kvzip", 0.3, "repeat"),
  cell("kvzip", 0.3, "repeat", DEFAULT_CODEC),
  cell("surrogate", 0.2, "own", "pre-rope(keys=4,values=4)"),
  cell("kvzip", 0.2, "none"),
  cell("kvzip", 0.2, "repeat"),
  cell("surrogate", 0.2, "own"),
  cell("surrogate", 0.2, "none"),
  cell("kvzip", 0.3, "none", "entropy"),
  cell("kvzip", 0.3, "repeat", "entropy"),
  cell("kvzip", 0.2, "repeat", "entropy"),
  cell("surrogate", 0.2, "own", "entropy"),
  ...["snapkv", "keydiff", "expected-attention", "streaming-llm"].map((scorer) => cell(scorer, 0.3, "none", "f32", "uniform")),
  ...KEEPS.flatMap((keep) => [
    cell("kvzip", keep, "none"),
    cell("surrogate", keep, "own"),
    cell("kvzip", keep, "repeat"),
    cell("surrogate", keep, "none"),
  ]),
  ...KEEPS.flatMap((keep) =>
    ["snapkv", "tova", "expected-attention", "keydiff", "lagkv", "l2norm", "r-kv", "streaming-llm"].flatMap((scorer) => [
      cell(scorer, keep, "none", "f32", "uniform"),
      cell(scorer, keep, "own", "f32", "uniform"),
    ]),
  ),
]);

function unique(cells: readonly Cell[]): Cell[] {
  return [...new Map(cells.map((one) => [one.name, one])).values()];
}
