import { describe, expect, test } from "vitest";
import { ALLOCATORS, CODECS, SCORERS, SELECTORS } from "./registry.ts";
import { allocatorConformance } from "./testing/allocator-conformance.ts";
import type { ConformanceCheck } from "./testing/check.ts";
import { codecConformance } from "./testing/codec-conformance.ts";
import { scorerConformance } from "./testing/scorer-conformance.ts";
import { selectorConformance } from "./testing/selector-conformance.ts";

/** Every entry of every table; a new method needs no edit here. */
const axes: [axis: string, entries: [name: string, checks: ConformanceCheck[]][]][] = [
  ["scorer", [...SCORERS].map(([name, factory]) => [name, scorerConformance(factory)])],
  ["allocator", [...ALLOCATORS].map(([name, factory]) => [name, allocatorConformance(factory)])],
  ["selector", [...SELECTORS].map(([name, factory]) => [name, selectorConformance(factory)])],
  ["codec", [...CODECS].map(([name, factory]) => [name, codecConformance(factory)])],
];

for (const [axis, entries] of axes) {
  for (const [name, checks] of entries) {
    describe(`${axis} ${name}`, () => {
      for (const check of checks) test(check.name, check.run);
    });
  }
}

test("every table names its entries by their own names, none twice", () => {
  for (const table of [SCORERS, ALLOCATORS, SELECTORS, CODECS]) {
    for (const [name, factory] of table) expect(factory.name).toBe(name);
  }
});
