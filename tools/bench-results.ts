/**
 * What the documentation reads of bench/results.json.
 *
 * @module
 */
import { readFileSync } from "node:fs";

/** bench/src/harness/figure.ts says what the fields mean. */
export interface BenchResult {
  readonly name: string;
  readonly summary: string;
  readonly unit: string;
  readonly ours: number;
  readonly rival: number;
  readonly rivalName: string;
  readonly kind: "gain" | "cost";
  readonly ratio: number;
  readonly target?: number;
  readonly othersCores: number;
  readonly details?: Readonly<Record<string, number | string>>;
  readonly environment: {
    readonly cpu: string;
    readonly cores: number;
    readonly vectorUnits: readonly string[];
    readonly node: string;
    readonly onnxRuntime: string;
    readonly nodeLlamaCpp: string;
    readonly threads: number;
  };
}

const PATH = new URL("../bench/results.json", import.meta.url);

export function readBenchResults(): BenchResult[] {
  return JSON.parse(readFileSync(PATH, "utf8")) as BenchResult[];
}

/** Whether what was aimed at is reached; true where nothing was. */
export function isReached({ kind, ratio, target }: Pick<BenchResult, "kind" | "ratio" | "target">): boolean {
  return target === undefined || (kind === "gain" ? ratio >= target : ratio <= target);
}

/** Three digits that count, thousands separated. */
export function threeDigits(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3;
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
