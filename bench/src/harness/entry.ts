/**
 * The contract of a benchmark: one file in entries/, one line in entries/registry.ts.
 *
 * @module
 */
import type { Bench } from "./bench.ts";
import type { Figure } from "./figure.ts";

export interface Entry {
  /** Names of the figures it gives; `make bench ONLY=name` runs it for any of them. */
  readonly names: readonly string[];
  readonly run: (bench: Bench) => Promise<readonly Figure[]>;
}
