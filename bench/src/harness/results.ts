/**
 * `bench/results.json`: the last figure of every name, with where it was measured.
 *
 * @module
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Environment } from "./environment.ts";
import type { Figure } from "./figure.ts";

/** A figure with the machine and the second it is from. */
export interface Result extends Figure {
  readonly environment: Environment;
}

const PATH = fileURLToPath(new URL("../../results.json", import.meta.url));

export function readResults(): Result[] {
  return existsSync(PATH) ? (JSON.parse(readFileSync(PATH, "utf8")) as Result[]) : [];
}

/** Replaces the figures of the same names; the file is whole at any moment. */
export function writeResults(fresh: readonly Result[], order: readonly string[]): Result[] {
  const byName = new Map([...readResults(), ...fresh].map((result) => [result.name, result]));
  const results = order.flatMap((name) => byName.get(name) ?? []);
  writeFileSync(`${PATH}.new`, `${JSON.stringify(results, undefined, 2)}\n`);
  renameSync(`${PATH}.new`, PATH);
  return results;
}
