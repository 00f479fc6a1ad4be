import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rank } from "./rendezvous.ts";

const self = (node: string): string => node;
const nodes = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 20 }), { minLength: 1, maxLength: 12 });

describe("rank()", () => {
  test("returns every node once, in an order that does not depend on the order given", () => {
    fc.assert(
      fc.property(fc.string(), nodes, (key, names) => {
        const ranked = rank(key, names, self);
        expect([...ranked].sort()).toEqual([...names].sort());
        expect(rank(key, [...names].reverse(), self)).toEqual(ranked);
      }),
    );
  });

  test("keeps the order of the others when a node goes", () => {
    fc.assert(
      fc.property(fc.string(), nodes, fc.nat(), (key, names, at) => {
        const gone = names[at % names.length];
        const others = names.filter((name) => name !== gone);
        expect(rank(key, others, self)).toEqual(rank(key, names, self).filter((name) => name !== gone));
      }),
    );
  });

  test("spreads keys evenly", () => {
    const workers = ["a:1", "b:1", "c:1", "d:1"];
    const counts = new Map<string, number>();
    for (let i = 0; i < 4_000; i++) {
      const first = rank(`c${i}`, workers, self)[0] ?? "";
      counts.set(first, (counts.get(first) ?? 0) + 1);
    }
    for (const worker of workers) {
      expect(counts.get(worker)).toBeGreaterThan(900);
      expect(counts.get(worker)).toBeLessThan(1_100);
    }
  });
});
