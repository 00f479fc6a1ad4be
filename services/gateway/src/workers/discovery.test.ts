import { openRegistry, type WorkerInfo } from "@kvault/cluster";
import { KvaultError } from "@kvault/core";
import { expect, test } from "vitest";
import { Discovery } from "./discovery.ts";

const LOAD = {
  draining: false,
  models: [],
  residentContextIds: [],
  residentBytes: 0,
  runningBuilds: 0,
  runningQueries: 0,
  engineRestarts: 0,
} satisfies Partial<WorkerInfo>;

function setUp(ready?: () => ReadonlySet<string> | undefined) {
  const registry = openRegistry("memory:");
  const pools = { prefill: [] as string[], decode: [] as string[] };
  const errors: unknown[] = [];
  const pool = (role: "prefill" | "decode") => ({
    setAddresses: async (addresses: readonly string[]) => {
      pools[role] = [...addresses];
    },
  });
  const discovery = new Discovery({
    registry,
    named: { prefill: ["p:1"], decode: [] },
    pools: { prefill: pool("prefill"), decode: pool("decode") },
    ...(ready === undefined ? {} : { readyDecode: ready }),
    onError: (error) => errors.push(error),
  });
  return { registry, pools, discovery, errors };
}

const worker = (role: "prefill" | "decode", address: string) =>
  ({ role, address, incarnation: address, startedMs: 1, capacity: 1 }) as const;

test("workers that the configuration names stay beside those that the registry knows", async () => {
  const { registry, pools, discovery } = setUp();
  await registry.register(worker("prefill", "p:2"), () => LOAD);
  const decode = await registry.register(worker("decode", "d:1"), () => LOAD);
  await discovery.look();
  expect(pools).toEqual({ prefill: ["p:1", "p:2"], decode: ["d:1"] });
  await decode.close();
  await discovery.look();
  expect(pools.decode).toEqual([]);
  await discovery.close();
});

test("a registry that does not answer changes nothing", async () => {
  const { registry, pools, discovery, errors } = setUp();
  await registry.register(worker("decode", "d:1"), () => LOAD);
  await discovery.look();
  registry.list = () => Promise.reject(new KvaultError("UNREACHABLE", "Cannot list workers"));
  await discovery.look();
  expect(pools.decode).toEqual(["d:1"]);
  expect(errors).toHaveLength(1);
  await discovery.close();
});

test("where readiness is known, registered decode workers have to be ready too", async () => {
  let ready: ReadonlySet<string> | undefined = new Set(["d:1", "d:3", "p:2"]);
  const { registry, pools, discovery } = setUp(() => ready);
  for (const address of ["d:1", "d:2"]) await registry.register(worker("decode", address), () => LOAD);
  await registry.register(worker("prefill", "p:3"), () => LOAD);
  await discovery.look();
  expect(pools).toEqual({ prefill: ["p:1", "p:3"], decode: ["d:1"] });
  ready = new Set();
  await discovery.look();
  expect(pools.decode).toEqual(["d:1", "d:2"]);
  ready = new Set(["d:2"]);
  await discovery.look();
  expect(pools.decode).toEqual(["d:2"]);
  ready = undefined;
  await discovery.look();
  expect(pools.decode).toEqual(["d:1", "d:2"]);
  await discovery.close();
});
