/**
 * What every driver of the registry must satisfy. `open` gives views of the same registry, as two
 * processes would have them.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { RegistryOptions, WorkerInfo, WorkerLoad, WorkerRegistry } from "../registry/worker-registry.ts";
import { type ConformanceCheck, eventually } from "./check.ts";

const LOAD: WorkerLoad = {
  draining: false,
  models: ["m"],
  residentContextIds: ["c1"],
  residentBytes: 10,
  runningBuilds: 0,
  runningQueries: 2,
  engineRestarts: 1,
};
const PATIENCE_MS = 3_000;
const QUICK: RegistryOptions = { beatMs: 10, leaseMs: 100 };

function worker(more: Partial<WorkerInfo> = {}): Omit<WorkerInfo, keyof WorkerLoad> {
  return { role: "decode", address: "10.0.0.1:7719", incarnation: "one", startedMs: 1_000, capacity: 64, ...more };
}

export function registryConformance(
  open: (options: RegistryOptions) => Promise<readonly [WorkerRegistry, WorkerRegistry]>,
): ConformanceCheck[] {
  const check = (
    name: string,
    body: (here: WorkerRegistry, there: WorkerRegistry) => Promise<void>,
    options: RegistryOptions = {},
  ): ConformanceCheck => ({
    name,
    run: async () => {
      const [here, there] = await open(options);
      try {
        await body(here, there);
      } finally {
        await Promise.all([here.close(), there.close()]);
      }
    },
  });

  return [
    check("a registered worker is listed with all it said, until it signs off", async (here, there) => {
      const registration = await here.register(worker(), () => LOAD);
      assert.deepEqual(await there.list(), [{ ...worker(), ...LOAD }]);
      await registration.close();
      await registration.close();
      assert.deepEqual(await there.list(), []);
    }),

    check("list() is ordered by role, then address", async (here, there) => {
      await here.register(worker({ address: "b:1" }), () => LOAD);
      await there.register(worker({ address: "a:1" }), () => LOAD);
      await there.register(worker({ role: "prefill", address: "a:1" }), () => LOAD);
      assert.deepEqual(
        (await here.list()).map(({ role, address }) => `${role} ${address}`),
        ["decode a:1", "decode b:1", "prefill a:1"],
      );
    }),

    check("beat() tells the state of now", async (here, there) => {
      let load = LOAD;
      const registration = await here.register(worker(), () => load);
      load = { ...LOAD, draining: true, runningQueries: 7 };
      await registration.beat();
      assert.deepEqual(await there.list(), [{ ...worker(), ...load }]);
    }),

    check("a new incarnation clears the old one, which is not heard any more", async (here, there) => {
      const old = await here.register(worker(), () => LOAD);
      await there.register(worker({ incarnation: "two", startedMs: 2_000 }), () => ({ ...LOAD, residentContextIds: [] }));
      await old.beat();
      await old.close();
      const [found, ...others] = await here.list();
      assert.deepEqual([found?.incarnation, found?.residentContextIds, others], ["two", [], []]);
    }),

    check(
      "a worker that beats stays longer than its lease",
      async (here, there) => {
        await here.register(worker(), () => LOAD);
        const untilMs = performance.now() + 250;
        while (performance.now() < untilMs) {
          assert.equal((await there.list()).length, 1);
          await new Promise((resolve) => setTimeout(resolve, 20));
        }
      },
      QUICK,
    ),

    check(
      "a worker that falls silent is gone after its lease, and back with its next beat",
      async (here, there) => {
        let silent = false;
        const registration = await here.register(worker(), () => {
          if (silent) throw new Error("busy");
          return LOAD;
        });
        silent = true;
        await eventually(async () => (await there.list()).length === 0, PATIENCE_MS);
        silent = false;
        await registration.beat();
        assert.equal((await there.list()).length, 1);
      },
      QUICK,
    ),
  ];
}
