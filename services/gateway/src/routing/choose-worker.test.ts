import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type Candidate, chooseWorker } from "./choose-worker.ts";
import { rank } from "./rendezvous.ts";

const MIB = 2 ** 20;

function worker(name: string, changes: Partial<Candidate> = {}): Candidate {
  return {
    name,
    resident: false,
    inFlight: 0,
    maxInFlight: 64,
    load: 0,
    secondsPerQuery: 0.1,
    loadBytesPerSecond: 100 * MIB,
    freeBytes: Number.POSITIVE_INFINITY,
    ...changes,
  };
}

/** Candidates in rendezvous order for `key`: homes first. */
function ranked(key: string, ...changes: Partial<Candidate>[]): Candidate[] {
  const names = rank(
    key,
    changes.map((_, i) => `decode-${i}`),
    (name) => name,
  );
  return changes.map((change, i) => worker(names[i] ?? "", change));
}

const choose = (candidates: readonly Candidate[], bytes = MIB) => {
  const choice = chooseWorker("c", bytes, candidates);
  return choice && { chosen: candidates.indexOf(choice.chosen), replicateTo: choice.replicateTo };
};

describe("chooseWorker()", () => {
  test("a context that is resident nowhere goes to its home", () => {
    expect(choose(ranked("c", {}, {}, {}))).toEqual({ chosen: 0, replicateTo: undefined });
  });

  test("a resident keeps its queries though it is not the home, and though it is a little busier", () => {
    expect(choose(ranked("c", {}, { resident: true, inFlight: 3 }))?.chosen).toBe(1);
  });

  test("a resident is left when loading elsewhere saves seconds", () => {
    const busy = { resident: true, inFlight: 40, load: 0.5 };
    expect(choose(ranked("c", {}, busy))).toEqual({ chosen: 0, replicateTo: undefined });
    expect(choose(ranked("c", {}, busy), 400 * MIB)?.chosen).toBe(1);
    expect(choose(ranked("c", { freeBytes: 0 }, busy), 150 * MIB)?.chosen).toBe(1);
  });

  test("of several residents the least busy answers", () => {
    const choice = choose(ranked("c", { resident: true, inFlight: 3 }, { resident: true, inFlight: 1 }, { inFlight: 0 }));
    expect(choice?.chosen).toBe(1);
  });

  test("an overloaded resident is spared while another has the context, else a replica is asked for", () => {
    const over = { resident: true, load: 8, inFlight: 8 };
    expect(choose(ranked("c", over, { resident: true, load: 3, inFlight: 9 }, { load: 3 }))?.chosen).toBe(1);
    const candidates = ranked("c", over, { load: 3 }, { load: 3 });
    expect(choose(candidates)).toEqual({ chosen: 0, replicateTo: candidates[1] });
  });

  test("when nothing is busy nothing is overloaded", () => {
    expect(choose(ranked("c", { resident: true, load: 0.9 }, { load: 0 }, { load: 0 }))).toEqual({
      chosen: 0,
      replicateTo: undefined,
    });
  });

  test("full workers are no candidates; nobody is chosen when all are full", () => {
    const full = { resident: true, inFlight: 2, maxInFlight: 2 };
    expect(choose(ranked("c", full, {}))?.chosen).toBe(1);
    expect(choose(ranked("c", full, full))).toBeUndefined();
  });

  const candidate = fc.record({
    resident: fc.boolean(),
    inFlight: fc.nat(70),
    load: fc.double({ min: 0, max: 70, noNaN: true }),
    secondsPerQuery: fc.double({ min: 0.01, max: 2, noNaN: true }),
  });

  test("chooses someone with a free place whenever there is one, in whatever order they are given", () => {
    fc.assert(
      fc.property(fc.array(candidate, { minLength: 1, maxLength: 8 }), fc.string(), (changes, key) => {
        const candidates = changes.map((change, i) => worker(`decode-${i}`, change));
        const choice = chooseWorker(key, MIB, candidates);
        const free = candidates.filter(({ inFlight, maxInFlight }) => inFlight < maxInFlight);
        expect(choice === undefined).toBe(free.length === 0);
        if (choice === undefined) return;
        expect(free).toContain(choice.chosen);
        const reversed = chooseWorker(key, MIB, [...candidates].reverse());
        expect(reversed?.chosen.name).toBe(choice.chosen.name);
      }),
    );
  });

  const keys = Array.from({ length: 4_000 }, (_, i) => `context-${i}`);
  const homes = (names: readonly string[]): Map<string, string> => {
    const candidates = names.map((name) => worker(name));
    return new Map(keys.map((key) => [key, chooseWorker(key, MIB, candidates)?.chosen.name ?? ""]));
  };

  test("a worker that comes takes at most its share of the contexts, and takes them only to itself", () => {
    const workers = fc.uniqueArray(fc.stringMatching(/^[a-z0-9.-]{1,20}:\d{4}$/), { minLength: 2, maxLength: 5 });
    fc.assert(
      fc.property(workers, (names) => {
        const [newcomer = "", ...others] = names;
        const before = homes(others);
        const after = homes(names);
        const moved = keys.filter((key) => before.get(key) !== after.get(key));
        expect(moved.length / keys.length).toBeLessThanOrEqual(1 / others.length);
        for (const key of moved) expect(after.get(key)).toBe(newcomer);
      }),
      { numRuns: 20 },
    );
  });

  test("a worker that goes moves its own contexts alone: 1/n of them, averaged over who goes", () => {
    const names = ["a:1", "b:1", "c:1", "d:1"];
    const before = homes(names);
    let moved = 0;
    for (const gone of names) {
      const after = homes(names.filter((name) => name !== gone));
      for (const key of keys) {
        if (before.get(key) === after.get(key)) continue;
        expect(before.get(key)).toBe(gone);
        moved++;
      }
    }
    expect(moved / names.length / keys.length).toBe(1 / names.length);
  });
});
