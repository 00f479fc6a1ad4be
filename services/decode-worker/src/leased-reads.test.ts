import { openLeases } from "@kvault/cluster";
import { KvaultError } from "@kvault/core";
import type { Engine, QueryRequest } from "@kvault/runtime";
import { expect, test } from "vitest";
import { leasedReads } from "./leased-reads.ts";

const LOAD = { contextId: "c1", digest: "d", model: "m" };
const QUERY = { source: { type: "stored", contextId: "c1", digest: "d" } } as QueryRequest;

/** An engine that tells how many read while it loads. */
function setUp(resident: readonly string[] = []) {
  const leases = openLeases("memory:");
  const readers: number[] = [];
  const look = async (): Promise<void> => void readers.push(await leases.readers("c1"));
  const engine = {
    status: () => ({ residentContextIds: resident }),
    load: look,
    inspectContext: look,
    async *query() {
      await look();
      yield { type: "delta" };
      await look();
    },
  } as unknown as Engine;
  return { leases, readers, engine };
}

test("a context is read under a lease until it is loaded", async () => {
  const { leases, readers, engine } = setUp();
  await leasedReads(engine, leases).load(LOAD);
  expect(readers).toEqual([1]);
  expect(await leases.readers("c1")).toBe(0);
});

test("a query holds the lease until its first event", async () => {
  const { leases, readers, engine } = setUp();
  for await (const _ of leasedReads(engine, leases).query(QUERY)) expect(readers[0]).toBe(1);
  expect(readers).toEqual([1, 0]);
});

test("a resident context is not read", async () => {
  const { leases, readers, engine } = setUp(["c1"]);
  for await (const _ of leasedReads(engine, leases).query(QUERY));
  expect(readers).toEqual([0, 0]);
});

test("an inspection reads the store under a lease, resident or not", async () => {
  const { leases, readers, engine } = setUp(["c1"]);
  await leasedReads(engine, leases).inspectContext({ ...LOAD, maxBins: 1, contentSha256: "" });
  expect(readers).toEqual([1]);
  expect(await leases.readers("c1")).toBe(0);
});

test("a registry that fails does not stop the query", async () => {
  const { leases, readers, engine } = setUp();
  leases.read = () => Promise.reject(new KvaultError("UNREACHABLE", "Cannot read"));
  for await (const _ of leasedReads(engine, leases).query(QUERY));
  expect(readers).toEqual([0, 0]);
});
