/**
 * One measured figure: two sides, measured in turns in one run, and the ratio of their medians.
 *
 * @module
 */

/** Lowest and highest sample. */
export interface Spread {
  readonly low: number;
  readonly high: number;
}

export interface Figure {
  readonly name: string;
  /** What was measured, in one line. */
  readonly summary: string;
  readonly unit: string;
  /** Medians. */
  readonly ours: number;
  readonly rival: number;
  readonly rivalName: string;
  /** How the ratio is formed: `gain` how many times better ours is, `cost` ours as a share of the other side. */
  readonly kind: "gain" | "cost";
  readonly ratio: number;
  /** What `ratio` has to reach (gain) or stay below (cost); absent where there is no promise. */
  readonly target?: number;
  readonly spread: { readonly ours: Spread; readonly rival: Spread };
  readonly samples: { readonly ours: number; readonly rival: number };
  /** Most cores that others used while a sample was taken. */
  readonly othersCores: number;
  /** Figures beside the ratio that the reader needs. */
  readonly details?: Readonly<Record<string, number | string>>;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function spreadOf(values: readonly number[]): Spread {
  return { low: Math.min(...values), high: Math.max(...values) };
}

/** True, false, or undefined where nothing was promised. */
export function isReached({ kind, ratio, target }: Pick<Figure, "kind" | "ratio" | "target">): boolean | undefined {
  if (target === undefined) return undefined;
  return kind === "gain" ? ratio >= target : ratio <= target;
}
