/**
 * What every catalogue must satisfy. Checks are plain functions, so that they run under any test
 * runner and against a broken catalogue to prove that they would notice.
 *
 * @module
 */
import assert from "node:assert/strict";
import { KvaultError } from "@kvault/core";
import { collect } from "@kvault/core/testing";
import type { ContextAttributes } from "@kvault/kvstore";
import { CompressionReportSchema, create, ProgressSchema } from "@kvault/rpc";
import {
  attributesOf,
  type ContextCatalogue,
  type ContextRecord,
  type ContextState,
  firstAttributes,
  type ListPosition,
} from "../catalogue/context-catalogue.ts";

export interface ConformanceCheck {
  readonly name: string;
  run(): Promise<void>;
}

const CREATING: ContextState = { type: "creating", progress: create(ProgressSchema, {}) };
export const ACTIVE: Extract<ContextState, { type: "active" }> = {
  type: "active",
  report: create(CompressionReportSchema, { keptPairs: 3n }),
};
const FAILED: ContextState = { type: "failed", error: new KvaultError("TOKEN_LIMIT", "Cannot build: too long") };

/** No check waits for anything longer than this. */
const PATIENCE_MS = 2_000;

const DELETED: ContextState = { type: "deleted", report: ACTIVE.report };

/** Every state, to try every arrow. */
const STATES: readonly ContextState[] = [CREATING, ACTIVE, FAILED, { type: "expired" }, DELETED, { type: "deleting" }];

/** The allowed arrows, written out again: the contract's picture. */
const ALLOWED: readonly string[] = [
  "creating creating",
  "creating active",
  "creating failed",
  "creating deleting",
  "active failed",
  "active expired",
  "active deleting",
  "failed expired",
  "failed deleting",
  "expired deleting",
  "deleted deleting",
  "deleting deleting",
];

/** A record with a valid id made from `n`. */
export function recordOf(n: number, more: Partial<ContextRecord> = {}): ContextRecord {
  return {
    id: `c${n.toString(16).padStart(32, "0")}`,
    tenant: "t",
    digest: n.toString(16).padStart(64, "0"),
    model: "m",
    spec: "s",
    ...firstAttributes({ displayName: "", labels: {}, createTimeMs: 1_000, expireTimeMs: 0 }),
    buildId: `build-${n}`,
    state: CREATING,
    ...more,
  };
}

/** A change of a record. */
function revisionOf(record: ContextRecord, revision: number, more: Partial<ContextAttributes> = {}): ContextAttributes {
  return { ...attributesOf(record), revision, ...more };
}

export function catalogueConformance(open: () => Promise<ContextCatalogue>): ConformanceCheck[] {
  const check = (name: string, body: (catalogue: ContextCatalogue) => Promise<void>): ConformanceCheck => ({
    name,
    run: async () => {
      const catalogue = await open();
      try {
        await patiently(body(catalogue), name);
      } finally {
        await catalogue.close();
      }
    },
  });

  /** Puts what was begun into `state`, by allowed arrows. */
  const bring = async (catalogue: ContextCatalogue, record: ContextRecord, state: ContextState): Promise<void> => {
    if (state.type === "expired" || state.type === "deleted") await catalogue.change(record, ACTIVE);
    if (state.type === "deleted")
      assert.ok(await catalogue.amend(record, revisionOf(record, 1, { deleteTimeMs: 50, purgeTimeMs: 100 })));
    else if (state.type !== "creating") assert.equal(await catalogue.change(record, state), true);
  };

  /** A record that is in `state`. */
  const inState = async (catalogue: ContextCatalogue, state: ContextState, n = 1): Promise<ContextRecord> => {
    const record = recordOf(n);
    await catalogue.begin(record);
    await bring(catalogue, record, state);
    return record;
  };

  return [
    check("begin() creates once: of many at once one gets created, all get the same record", async (catalogue) => {
      const results = await Promise.all(Array.from({ length: 20 }, (_, i) => catalogue.begin(recordOf(1, { buildId: `b${i}` }))));
      const winners = results.filter(({ created }) => created);
      assert.equal(winners.length, 1);
      assert.deepEqual(new Set(results.map(({ record }) => record.buildId)), new Set([winners[0]?.record.buildId]));
    }),

    check("begin() starts over what failed or expired, and nothing else", async (catalogue) => {
      for (const [n, state] of STATES.entries()) {
        await inState(catalogue, state, n);
        const { created, startedOver } = await catalogue.begin(recordOf(n, { buildId: "again" }));
        const expected = state.type === "failed" || state.type === "expired";
        assert.deepEqual([state.type, created, startedOver], [state.type, expected, expected]);
        assert.equal((await catalogue.get(recordOf(n).id))?.buildId, expected ? "again" : `build-${n}`);
      }
    }),

    check("change() takes the allowed arrows and refuses the others", async (catalogue) => {
      let n = 0;
      for (const from of STATES) {
        for (const to of STATES) {
          const record = await inState(catalogue, from, ++n);
          const arrow = `${from.type} ${to.type}`;
          assert.equal(await catalogue.change(record, to), ALLOWED.includes(arrow), arrow);
          assert.equal((await catalogue.get(record.id))?.state.type, ALLOWED.includes(arrow) ? to.type : from.type, arrow);
        }
      }
    }),

    check("news of an earlier start change nothing", async (catalogue) => {
      const old = await inState(catalogue, FAILED);
      await catalogue.begin(recordOf(1, { buildId: "new" }));
      assert.equal(await catalogue.change(old, ACTIVE), false);
      assert.equal(await catalogue.remove(old), false);
      assert.deepEqual((await catalogue.get(old.id))?.state.type, "creating");
    }),

    check("amend() takes later revisions and no others", async (catalogue) => {
      const record = await inState(catalogue, ACTIVE);
      const second = revisionOf(record, 2, { displayName: "second", labels: { a: "b" }, pinned: true });
      assert.equal((await catalogue.amend(record, second))?.displayName, "second");
      for (const revision of [2, 1]) {
        assert.equal(await catalogue.amend(record, revisionOf(record, revision, { displayName: "late" })), undefined);
      }
      const { state, ...rest } = (await catalogue.get(record.id)) ?? record;
      assert.equal(state.type, "active");
      const { state: _, ...expected } = { ...record, ...second };
      assert.deepEqual(rest, expected);
    }),

    check("amend() of many at once with one revision is done once", async (catalogue) => {
      const record = await inState(catalogue, ACTIVE);
      const names = Array.from({ length: 10 }, (_, i) => `n${i}`);
      const done = await Promise.all(names.map((displayName) => catalogue.amend(record, revisionOf(record, 1, { displayName }))));
      const winners = done.filter((each) => each !== undefined);
      assert.equal(winners.length, 1);
      assert.equal((await catalogue.get(record.id))?.displayName, winners[0]?.displayName);
    }),

    check("amend() of another start, another life or what is not there does nothing", async (catalogue) => {
      const record = await inState(catalogue, ACTIVE);
      const change = revisionOf(record, 1, { displayName: "x" });
      assert.equal(await catalogue.amend({ ...record, buildId: "other" }, change), undefined);
      assert.equal(await catalogue.amend(record, { ...change, createTimeMs: 999 }), undefined);
      assert.equal(await catalogue.amend(recordOf(9), change), undefined);
      assert.equal((await catalogue.get(record.id))?.displayName, "");
    }),

    check("amend() moves between active and deleted, and keeps every other state", async (catalogue) => {
      const gone = { deleteTimeMs: 5, purgeTimeMs: 9 };
      for (const [n, state] of STATES.entries()) {
        const record = await inState(catalogue, state, n);
        const deleted = await catalogue.amend(record, revisionOf(record, 2, gone));
        const hasRecord = state.type === "active" || state.type === "deleted";
        assert.equal(deleted?.state.type, hasRecord ? "deleted" : undefined, state.type);
        const back = await catalogue.amend(record, revisionOf(record, 3, { displayName: "back" }));
        const expected = hasRecord ? "active" : state.type === "creating" || state.type === "failed" ? state.type : undefined;
        assert.equal(back?.state.type, expected, state.type);
        assert.equal(back?.purgeTimeMs, expected === undefined ? undefined : 0);
      }
    }),

    check("change() at a revision is refused once there is a later one", async (catalogue) => {
      const record = await inState(catalogue, ACTIVE);
      await catalogue.amend(record, revisionOf(record, 1, { pinned: true }));
      assert.equal(await catalogue.change(record, { type: "expired" }, record), false);
      assert.equal(await catalogue.change(record, { type: "expired" }, { revision: 1 }), true);
    }),

    check("list() gives the states and labels that are asked for", async (catalogue) => {
      const idsOf = async (options: object): Promise<string[]> =>
        (await catalogue.list({ limit: 9, ...options })).map(({ id }) => id);
      for (const [n, state] of STATES.entries()) await inState(catalogue, state, n);
      for (const [n, state] of STATES.entries()) {
        assert.deepEqual(await idsOf({ states: new Set([state.type]) }), [recordOf(n).id], state.type);
      }
      const shown = STATES.flatMap(({ type }, n) => (type === "expired" || type === "deleted" ? [] : [recordOf(n).id]));
      assert.deepEqual(await idsOf({}), shown);
      await catalogue.begin(recordOf(20, { labels: { a: "1", b: "2" } }));
      await catalogue.begin(recordOf(21, { labels: { a: "1" } }));
      assert.deepEqual(await idsOf({ labels: { a: "1" } }), [recordOf(20).id, recordOf(21).id]);
      assert.deepEqual(await idsOf({ labels: { a: "1", b: "2" } }), [recordOf(20).id]);
      assert.deepEqual(await idsOf({ labels: { toString: "" } }), []);
    }),

    check("change() and remove() of what is not there do nothing", async (catalogue) => {
      assert.equal(await catalogue.change(recordOf(9), ACTIVE), false);
      assert.equal(await catalogue.remove(recordOf(9)), false);
      assert.equal(await catalogue.get(recordOf(9).id), undefined);
    }),

    check("list() of a tenant holds its contexts and no others, page by page", async (catalogue) => {
      for (let n = 1; n <= 6; n++) await catalogue.begin(recordOf(n, { tenant: n % 2 === 0 ? "even" : "odd" }));
      const first = await catalogue.list({ limit: 2, tenant: "even" });
      assert.deepEqual(
        first.map(({ id }) => id),
        [recordOf(2).id, recordOf(4).id],
      );
      const rest = await catalogue.list({ limit: 2, tenant: "even", after: first[1] as ListPosition });
      assert.deepEqual(
        rest.map(({ id, tenant }) => [id, tenant]),
        [[recordOf(6).id, "even"]],
      );
      assert.deepEqual(await catalogue.list({ limit: 9, tenant: "nobody" }), []);
    }),
    check("list() pages through all in order of time, then id, without the expired", async (catalogue) => {
      const times = [5, 3, 3, 9, 1, 3];
      for (const [n, createTimeMs] of times.entries()) await catalogue.begin(recordOf(n, { createTimeMs }));
      const gone = recordOf(times.length, { createTimeMs: 2 });
      await catalogue.begin(gone);
      await catalogue.change(gone, ACTIVE);
      await catalogue.change(gone, { type: "expired" });
      const seen: string[] = [];
      let after: ListPosition | undefined;
      for (;;) {
        const page = await catalogue.list({ limit: 2, ...(after === undefined ? {} : { after }) });
        assert.ok(page.length <= 2);
        assert.ok(seen.length <= times.length, "a record came twice");
        seen.push(...page.map(({ id }) => id));
        after = page.at(-1);
        if (after === undefined) break;
      }
      assert.deepEqual(
        seen,
        [4, 1, 2, 5, 0, 3].map((n) => recordOf(n).id),
      );
    }),

    check("watch() gives the record now, every change to one that keeps up, and ends with the removal", async (catalogue) => {
      const record = await inState(catalogue, CREATING);
      const watch = catalogue.watch(record.id)[Symbol.asyncIterator]();
      assert.equal((await watch.next()).value?.state.type, "creating");
      for (const state of [ACTIVE, { type: "deleting" } as const]) {
        await catalogue.change(record, state);
        assert.equal((await watch.next()).value?.state.type, state.type);
      }
      await catalogue.remove(record);
      assert.equal((await watch.next()).done, true);
    }),

    check("watch() gives a slow reader the newest only", async (catalogue) => {
      const record = await inState(catalogue, CREATING);
      const watch = catalogue.watch(record.id)[Symbol.asyncIterator]();
      await watch.next();
      for (let done = 1; done <= 200; done++) {
        await catalogue.change(record, { type: "creating", progress: create(ProgressSchema, { done, total: 200 }) });
      }
      const { value } = await watch.next();
      assert.equal(value?.state.type === "creating" && value.state.progress.done, 200);
    }),

    check("watch() of nothing ends at once, of a signal when it aborts, of all at close()", async (catalogue) => {
      assert.deepEqual(await collect(catalogue.watch("c0")), []);
      const record = await inState(catalogue, CREATING);
      const controller = new AbortController();
      const signalled = catalogue.watch(record.id, { signal: controller.signal })[Symbol.asyncIterator]();
      const other = catalogue.watch(record.id)[Symbol.asyncIterator]();
      await signalled.next();
      await other.next();
      const rejected = assert.rejects(signalled.next());
      controller.abort();
      await rejected;
      const last = other.next();
      await catalogue.close();
      assert.equal((await last).done, true);
    }),

    check("due() names what is past its time, once it is, and what is being deleted", async (catalogue) => {
      const cases: readonly [ContextState, number, boolean][] = [
        [ACTIVE, 100, true],
        [ACTIVE, 101, false],
        [ACTIVE, 0, false],
        [FAILED, 100, true],
        [DELETED, 0, true],
        [{ type: "expired" }, 100, true],
        [{ type: "deleting" }, 0, true],
        [CREATING, 50, false],
      ];
      for (const [n, [state, expireTimeMs]] of cases.entries()) {
        const record = recordOf(n, { expireTimeMs });
        await catalogue.begin(record);
        await bring(catalogue, record, state);
      }
      const pinned = recordOf(cases.length, { expireTimeMs: 1, pinned: true });
      await catalogue.begin(pinned);
      await catalogue.change(pinned, ACTIVE);
      const due = (await catalogue.due(100)).map(({ id }) => id).sort();
      assert.deepEqual(
        due,
        cases.flatMap(([, , expected], n) => (expected ? [recordOf(n).id] : [])),
      );
    }),

    check("building() names what is being created", async (catalogue) => {
      for (const [n, state] of STATES.entries()) await inState(catalogue, state, n);
      assert.deepEqual(
        (await catalogue.building()).map(({ id }) => id),
        [recordOf(STATES.indexOf(CREATING)).id],
      );
    }),

    check("isWhole() once marked so", async (catalogue) => {
      assert.equal(await catalogue.isWhole(), false);
      await catalogue.markWhole();
      assert.equal(await catalogue.isWhole(), true);
    }),

    check("records come back as they were put in, whatever their state", async (catalogue) => {
      for (const [n, state] of STATES.entries()) {
        const given = recordOf(n, { labels: { a: "b" }, displayName: "n", expireTimeMs: 9, state: CREATING });
        await catalogue.begin(given);
        await bring(catalogue, given, state);
        const { state: found, ...rest } = (await catalogue.get(given.id)) ?? given;
        const { state: _, ...before } = given;
        const expected = state.type === "deleted" ? { ...before, revision: 1, deleteTimeMs: 50, purgeTimeMs: 100 } : before;
        assert.deepEqual(rest, expected);
        if (found.type === "deleted" && state.type === "deleted") assert.deepEqual(found.report, state.report);
        else if (found.type === "active" && state.type === "active") assert.deepEqual(found.report, state.report);
        else if (found.type === "failed" && state.type === "failed") {
          assert.deepEqual([found.error.code, found.error.message], [state.error.code, state.error.message]);
        } else assert.deepEqual(found, state);
      }
    }),
  ];
}

async function patiently<T>(work: Promise<T>, name: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new assert.AssertionError({ message: `"${name}" was not done in ${PATIENCE_MS} ms` })),
      PATIENCE_MS,
    );
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
