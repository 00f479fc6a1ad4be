/**
 * A conformance suite is a list of named checks. Runners turn each into a test; a suite knows
 * no test framework, so that it can also be run against parts that are broken on purpose.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createRng, isKvaultError, type Rng } from "@kvault/core";
import type { PartFactory } from "../types.ts";

export interface ConformanceCheck {
  readonly name: string;
  /** Throws when the part breaks this rule of its contract. */
  run(): void;
}

/** Names of the checks that fail, in order. */
export function failingChecks(checks: readonly ConformanceCheck[]): string[] {
  return checks.filter((check) => !passes(check)).map(({ name }) => name);
}

function passes(check: ConformanceCheck): boolean {
  try {
    check.run();
    return true;
  } catch {
    return false;
  }
}

/** Rules every registry entry obeys, whatever its axis. */
export function factoryChecks(factory: PartFactory<unknown>): ConformanceCheck[] {
  return [
    {
      name: "has a name of lower-case words, a summary and a source",
      run: () => {
        assert.match(factory.name, /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/);
        assert.ok(factory.summary.length > 0 && factory.source.length > 0);
      },
    },
    {
      name: "has a description and a default for every parameter and refuses unknown ones",
      run: () => {
        for (const [name, schema] of Object.entries(factory.params.shape)) {
          assert.ok(schema.description, `parameter "${name}" has no description`);
        }
        const defaults = factory.params.parse({});
        assert.deepEqual(Object.keys(defaults), Object.keys(factory.params.shape));
        assert.equal(factory.params.safeParse({ noSuchParameter: 1 }).success, false);
      },
    },
  ];
}

/** A part made with every parameter at its default. */
export function createDefault<Part>(factory: PartFactory<Part>): Part {
  return factory.create(factory.params.parse({}) as Record<string, unknown>);
}

/** `length` values in [-1, 1) on a grid of `levels`, so that ties abound where `levels` is small. */
export function gridValues(rng: Rng, length: number, levels: number): Float32Array {
  return Float32Array.from({ length }, () => (2 * rng.below(levels)) / levels - 1);
}

/** The same generator for every run of a check, another for every check. */
export function rngOf(check: string): Rng {
  let seed = 0;
  for (let i = 0; i < check.length; i++) seed = Math.imul(seed, 31) + check.charCodeAt(i);
  return createRng(seed);
}

/** Asserts that `run` throws CACHE_CORRUPT. */
export function assertCorrupt(run: () => unknown, what: string): void {
  assert.throws(run, (error) => isKvaultError(error, "CACHE_CORRUPT"), `accepted ${what}`);
}
