/**
 * A check of a conformance suite: a plain function, so that it runs under any test runner and
 * against a broken implementation.
 *
 * @module
 */
import assert from "node:assert/strict";

export interface ConformanceCheck {
  readonly name: string;
  run(): Promise<void>;
}

/** Resolves once `look` gives true; fails after `patienceMs`. */
export async function eventually(look: () => Promise<boolean> | boolean, patienceMs: number): Promise<void> {
  for (const startedMs = performance.now(); !(await look()); ) {
    assert.ok(performance.now() - startedMs < patienceMs, `not so after ${patienceMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
