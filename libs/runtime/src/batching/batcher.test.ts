import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BATCHER_LIMITS, Batcher, type Run } from "./batcher.ts";

type TestRun = Run<string, string>;

/** What a run costs, roughly as on two cores: 2 ms a read token, 512 ms a prefill chunk, 10 ms + 1 ms a row a step. */
function costMs(run: TestRun): number {
  if (run.kind === "prefill") return 512;
  if (run.kind === "decode") return 10 + run.members.length;
  return 2 * run.parts.length * Math.max(...run.parts.map((part) => part.tokens));
}

function membersOf(run: TestRun): readonly string[] {
  if (run.kind === "prefill") return [run.member];
  return run.kind === "decode" ? run.members : run.parts.map((part) => part.member);
}

/** Runs `batcher` until idle or `runs` runs, giving every run its cost. */
function drive(batcher: Batcher<string, string>, runs: number, onRun: (run: TestRun) => void = () => {}): void {
  for (let i = 0; i < runs; i++) {
    const run = batcher.next();
    if (run === undefined) return;
    batcher.ran(run, costMs(run));
    onRun(run);
  }
}

describe("Batcher", () => {
  test("has nothing to run when nothing waits", () => {
    expect(new Batcher().next()).toBeUndefined();
  });

  test("lets joiners of one context read their questions together", () => {
    const batcher = new Batcher<string, string>();
    for (let i = 0; i < 16; i++) batcher.join("ctx", `q${i}`, 16 + i);
    const run = batcher.next();
    expect(run?.kind).toBe("read");
    expect(membersOf(run as TestRun)).toHaveLength(16);
  });

  test("does not pad a short question to the length of a long one", () => {
    const batcher = new Batcher<string, string>();
    batcher.join("ctx", "long", 250);
    batcher.join("ctx", "short", 10);
    expect(membersOf(batcher.next() as TestRun)).toEqual(["long"]);
  });

  test("a short question overtakes the rest of a long one", () => {
    const batcher = new Batcher<string, string>();
    batcher.join("ctx", "long", 2_000);
    batcher.join("ctx", "short", 10);
    const order: string[] = [];
    drive(batcher, 2, (run) => order.push(...membersOf(run)));
    expect(order).toEqual(["long", "short"]);
  });

  test("decodes all sequences of a context in one run", () => {
    const batcher = new Batcher<string, string>();
    for (const member of ["a", "b", "c"]) batcher.join("ctx", member, 4);
    drive(batcher, 1);
    expect(batcher.next()).toEqual({ kind: "decode", group: "ctx", members: ["a", "b", "c"] });
  });

  test("a newcomer reads at once while others decode, and decodes with them afterwards", () => {
    const batcher = new Batcher<string, string>();
    batcher.join("ctx", "old", 8);
    drive(batcher, 5);
    batcher.join("ctx", "new", 8);
    const kinds: string[] = [];
    drive(batcher, 3, (run) => kinds.push(`${run.kind} ${membersOf(run).join("+")}`));
    expect(kinds).toEqual(["read new", "decode old+new", "decode old+new"]);
  });

  test("contexts take turns", () => {
    const batcher = new Batcher<string, string>();
    for (const group of ["x", "y", "z"]) batcher.join(group, `of ${group}`, 1);
    const groups: string[] = [];
    drive(batcher, 60, (run) => run.kind === "decode" && groups.push(run.group));
    const steady = groups.slice(-30);
    for (let i = 0; i + 3 <= steady.length; i++) expect(new Set(steady.slice(i, i + 3)).size).toBe(3);
  });

  test("sequences over the row limit take turns", () => {
    const batcher = new Batcher<string, string>({ ...BATCHER_LIMITS, decodeRows: 2 });
    for (const member of ["a", "b", "c"]) batcher.join("ctx", member, 1);
    const rows: string[] = [];
    drive(batcher, 5, (run) => run.kind === "decode" && rows.push(membersOf(run).join("")));
    expect(rows).toEqual(["ab", "ca", "bc", "ab"]);
  });

  test("questions without end leave decoders half of the time", () => {
    const batcher = new Batcher<string, string>();
    batcher.join("ctx", "decoder", 1);
    drive(batcher, 1);
    const spentMs = { read: 0, decode: 0, prefill: 0 };
    for (let i = 0; i < 4; i++) batcher.join("other", `flood ${i}`, 1_000_000);
    drive(batcher, 2_000, (run) => {
      spentMs[run.kind] += costMs(run);
    });
    const share = spentMs.decode / (spentMs.decode + spentMs.read);
    expect(share).toBeGreaterThan(0.45);
    expect(share).toBeLessThan(0.6);
  });

  test("decoders without end leave prefill and questions their share", () => {
    const batcher = new Batcher<string, string>();
    for (let i = 0; i < 32; i++) batcher.join("ctx", `decoder ${i}`, 1);
    drive(batcher, 1);
    batcher.joinPrefill("text");
    batcher.join("ctx", "flood", 1_000_000);
    const spentMs = { read: 0, decode: 0, prefill: 0 };
    drive(batcher, 1_000, (run) => {
      spentMs[run.kind] += costMs(run);
      if (run.kind === "prefill") batcher.joinPrefill("text");
    });
    const totalMs = spentMs.read + spentMs.decode + spentMs.prefill;
    for (const kind of ["read", "decode", "prefill"] as const) expect(spentMs[kind] / totalMs).toBeGreaterThan(0.25);
  });

  test("a newcomer's question does not wait for what a prefill owes", () => {
    const batcher = new Batcher<string, string>();
    batcher.join("ctx", "decoder", 1);
    drive(batcher, 1);
    batcher.joinPrefill("text");
    drive(batcher, 1);
    batcher.join("ctx", "new", 10);
    expect(batcher.next()?.kind).toBe("read");
  });

  test("a member that left never runs again, wherever it waited", () => {
    const batcher = new Batcher<string, string>();
    batcher.join("ctx", "decoder", 1);
    drive(batcher, 1);
    batcher.join("ctx", "reader", 1);
    batcher.joinPrefill("text");
    for (const member of ["decoder", "reader", "text"]) batcher.leave(member);
    expect(batcher.next()).toBeUndefined();
  });

  test("a member may leave while its run is under way", () => {
    const batcher = new Batcher<string, string>();
    batcher.join("ctx", "a", 1);
    batcher.join("ctx", "b", 1);
    const run = batcher.next() as TestRun;
    batcher.leave("a");
    batcher.ran(run, 1);
    expect(membersOf(batcher.next() as TestRun)).toEqual(["b"]);
  });

  test("refuses a member with nothing to read", () => {
    expect(() => new Batcher().join("ctx", "a", 0)).toThrow(RangeError);
  });

  test("under random arrivals and departures reads every token once, keeps its limits and starves nobody", () => {
    const arrival = fc.record({
      group: fc.constantFrom("x", "y", "z"),
      tokens: fc.integer({ min: 1, max: 700 }),
      answer: fc.integer({ min: 1, max: 12 }),
      afterRuns: fc.nat(6),
      prefill: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(arrival, { minLength: 1, maxLength: 30 }), (arrivals) => {
        const batcher = new Batcher<string, string>();
        const waiting = [...arrivals.entries()];
        const left = new Map<string, { unread: number; answer: number; waitedRuns: number }>();
        let untilNext = 0;
        for (let runs = 0; waiting.length > 0 || left.size > 0; runs++) {
          expect(runs).toBeLessThan(5_000);
          while (waiting.length > 0 && untilNext <= 0) {
            const [i, { group, tokens, answer, afterRuns, prefill }] = waiting.shift() as (typeof waiting)[number];
            untilNext = afterRuns;
            left.set(`m${i}`, { unread: prefill ? 0 : tokens, answer: prefill ? 1 : answer, waitedRuns: 0 });
            if (prefill) batcher.joinPrefill(`m${i}`);
            else batcher.join(group, `m${i}`, tokens);
          }
          untilNext--;
          const run = batcher.next();
          if (run === undefined) {
            expect(left.size).toBe(0);
            untilNext = 0;
            continue;
          }
          const members = membersOf(run);
          expect(new Set(members).size).toBe(members.length);
          if (run.kind === "read") {
            const longest = Math.max(...run.parts.map((part) => part.tokens));
            expect(longest).toBeLessThanOrEqual(BATCHER_LIMITS.readTokens);
            expect(longest * run.parts.length).toBeLessThanOrEqual(BATCHER_LIMITS.readRows);
          }
          batcher.ran(run, costMs(run));
          for (const state of left.values()) state.waitedRuns++;
          for (const member of members) {
            const state = left.get(member);
            if (state === undefined) throw new Error(`Cannot run "${member}": it left`);
            state.waitedRuns = 0;
            if (run.kind === "read") state.unread -= run.parts.find((part) => part.member === member)?.tokens ?? 0;
            else expect(state.unread).toBe(0);
            if (run.kind === "prefill" || (state.unread === 0 && --state.answer === 0)) {
              batcher.leave(member);
              left.delete(member);
            }
          }
          // 30 members, and at most 1,024 ms of steps of at least 11 ms owed between two long runs.
          for (const { waitedRuns } of left.values()) expect(waitedRuns).toBeLessThan(30 * 100);
        }
      }),
      { numRuns: 200 },
    );
  });
});
