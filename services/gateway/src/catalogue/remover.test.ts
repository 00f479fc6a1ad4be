import { openLeases } from "@kvault/cluster";
import { KvaultError } from "@kvault/core";
import { failureOf, gate } from "@kvault/core/testing";
import { type BlobStore, manifestKey, openMemoryStore, partKey, putAttributes } from "@kvault/kvstore";
import { openQueue } from "@kvault/queue";
import { describe, expect, test } from "vitest";
import type { BuildJob, BuildQueue } from "../builds/build-job.ts";
import { ACTIVE, recordOf } from "../testing/catalogue-conformance.ts";
import type { DecodePool } from "../workers/decode-pool.ts";
import { attributesOf } from "./context-catalogue.ts";
import { findActive, findContext } from "./find-context.ts";
import { MemoryCatalogue } from "./memory.ts";
import { Remover } from "./remover.ts";

const HOUR_MS = 3_600_000;

function setUp(overrides: Partial<BlobStore> = {}) {
  const catalogue = new MemoryCatalogue();
  const evicted: string[] = [];
  const decode = { evict: async (id: string) => void evicted.push(id) } as Pick<DecodePool, "evict"> as DecodePool;
  const queue: BuildQueue = openQueue("local:");
  const leases = openLeases("memory:");
  const store = { ...openMemoryStoreMethods(), ...overrides } as BlobStore;
  const log = { info: () => undefined, warn: () => undefined, error: () => undefined };
  return { catalogue, evicted, queue, store, remover: new Remover({ catalogue, queue, decode, store, leases, log }), leases };
}

/** A store as a plain object, so that single methods can be replaced. */
function openMemoryStoreMethods(): BlobStore {
  const store = openMemoryStore();
  return {
    abilities: store.abilities,
    put: (...args) => store.put(...args),
    get: (...args) => store.get(...args),
    stat: (...args) => store.stat(...args),
    delete: (...args) => store.delete(...args),
    list: (...args) => store.list(...args),
    close: () => store.close(),
  };
}

describe("Remover.remove()", () => {
  test("joins a deletion under way", async () => {
    const { catalogue, evicted, remover } = setUp();
    const record = recordOf(1);
    await catalogue.begin(record);
    await Promise.all([remover.remove(record.id), remover.remove(record.id)]);
    expect(evicted).toEqual([record.id]);
    expect(await catalogue.get(record.id)).toBeUndefined();
  });

  test("leaves the context DELETING when the store fails, and goes on at the next call", async () => {
    let down = true;
    const { catalogue, remover } = setUp({
      stat: async () => {
        if (down) throw new KvaultError("STORE_UNAVAILABLE", "Cannot reach the store");
        return undefined;
      },
    });
    const record = recordOf(1);
    await catalogue.begin(record);
    expect((await failureOf(remover.remove(record.id))).code).toBe("STORE_UNAVAILABLE");
    expect((await catalogue.get(record.id))?.state.type).toBe("deleting");
    down = false;
    await remover.remove(record.id);
    expect(await catalogue.get(record.id)).toBeUndefined();
  });

  test("goes on when the caller stops waiting", async () => {
    const reached = gate();
    const proceed = gate();
    const { catalogue, remover } = setUp({
      stat: async () => {
        reached.pass();
        await proceed.passed;
        return undefined;
      },
    });
    const record = recordOf(1);
    await catalogue.begin(record);
    const controller = new AbortController();
    const left = failureOf(remover.remove(record.id, controller.signal));
    await reached.passed;
    controller.abort();
    expect((await left).code).toBe("CANCELLED");
    const whole = remover.remove(record.id);
    proceed.pass();
    await whole;
    expect(await catalogue.get(record.id)).toBeUndefined();
  });

  test("waits for clearing of the same context, and does not mistake it for its own work", async () => {
    const reached = gate();
    const proceed = gate();
    let stats = 0;
    const { catalogue, remover } = setUp({
      stat: async () => {
        if (++stats === 1) {
          reached.pass();
          await proceed.passed;
        }
        return undefined;
      },
    });
    const record = recordOf(1);
    await catalogue.begin(record);
    const cleared = remover.clear(record.id);
    await reached.passed;
    const removed = remover.remove(record.id);
    expect((await catalogue.get(record.id))?.state.type).toBe("creating");
    proceed.pass();
    await Promise.all([cleared, removed]);
    expect(await catalogue.get(record.id)).toBeUndefined();
  });
});

describe("Remover.remove() of a record that is being read", () => {
  test("takes the manifest at once, and the parts when the reader is done", async () => {
    const { catalogue, leases, remover, store } = setUp();
    const record = recordOf(1);
    const part = partKey(record.id, "a".repeat(64));
    await store.put(manifestKey(record.id), Buffer.from("manifest"));
    await store.put(part, Buffer.from("part"));
    await catalogue.begin(record);
    const endReading = await leases.read(record.id, { ttlMs: 10_000 });
    const removing = remover.remove(record.id);
    await expect.poll(() => store.stat(manifestKey(record.id))).toBeUndefined();
    expect(await store.stat(part)).toBeDefined();
    await endReading();
    await removing;
    expect(await store.stat(part)).toBeUndefined();
  });
});

describe("Remover.sweep()", () => {
  test("finishes a deletion that another gateway left", async () => {
    const { catalogue, remover } = setUp();
    const record = recordOf(1);
    await catalogue.begin(record);
    await catalogue.change(record, { type: "deleting" });
    await remover.sweep(0);
    expect(await catalogue.get(record.id)).toBeUndefined();
  });

  test("takes nothing whose time has not come, whatever the catalogue names as due", async () => {
    const { catalogue, evicted, remover } = setUp();
    const records = [recordOf(1), recordOf(2, { expireTimeMs: 2_000 }), recordOf(3, { expireTimeMs: 500, pinned: true })];
    for (const record of records) {
      await catalogue.begin(record);
      await catalogue.change(record, ACTIVE);
    }
    // As when a row is read after its build ended, and was found due before.
    catalogue.due = () => catalogue.list({ limit: 9 });
    await remover.sweep(1_000);
    for (const { id } of records) expect((await catalogue.get(id))?.state.type).toBe("active");
    expect(evicted).toEqual([]);
  });

  test("asks the store before time takes anything: a change that the catalogue missed counts", async () => {
    const { catalogue, remover, store } = setUp();
    const record = recordOf(1, { expireTimeMs: 1_000 });
    await catalogue.begin(record);
    await catalogue.change(record, ACTIVE);
    await putAttributes(store, record.id, { ...attributesOf(record), revision: 1, pinned: true });
    await remover.sweep(2_000);
    expect(await catalogue.get(record.id)).toMatchObject({ state: { type: "active" }, pinned: true, revision: 1 });
  });

  test("purges what was deleted when its time comes", async () => {
    const { catalogue, remover } = setUp();
    const record = recordOf(1);
    await catalogue.begin(record);
    await catalogue.change(record, ACTIVE);
    await catalogue.amend(record, { ...attributesOf(record), revision: 1, deleteTimeMs: 500, purgeTimeMs: 1_000 });
    await remover.sweep(999);
    expect((await catalogue.get(record.id))?.state.type).toBe("deleted");
    await remover.sweep(1_000);
    expect(await catalogue.get(record.id)).toBeUndefined();
  });

  test("expires what is due, clears it away, and forgets it a day later", async () => {
    const { catalogue, evicted, remover } = setUp();
    const record = recordOf(1, { expireTimeMs: 1_000 });
    await catalogue.begin(record);
    await catalogue.change(record, ACTIVE);
    await remover.sweep(999);
    expect(evicted).toEqual([]);
    await remover.sweep(1_000);
    await remover.sweep(2_000);
    expect(evicted).toEqual([record.id]);
    expect((await failureOf(findContext(catalogue, record.id))).code).toBe("CONTEXT_EXPIRED");
    await remover.sweep(1_000 + 24 * HOUR_MS);
    expect((await failureOf(findContext(catalogue, record.id))).code).toBe("CONTEXT_NOT_FOUND");
  });

  test("clears again at the next sweep when the store failed", async () => {
    let down = true;
    let cleared = 0;
    const { catalogue, remover } = setUp({
      stat: async () => {
        if (down) throw new KvaultError("STORE_UNAVAILABLE", "Cannot reach the store");
        cleared++;
        return undefined;
      },
    });
    const record = recordOf(1, { expireTimeMs: 1_000 });
    await catalogue.begin(record);
    await catalogue.change(record, ACTIVE);
    await remover.sweep(1_000);
    down = false;
    await remover.sweep(2_000);
    await remover.sweep(3_000);
    expect(cleared).toBe(1);
  });

  test("leaves a context alone that was started over meanwhile", async () => {
    let down = true;
    const { catalogue, evicted, remover } = setUp({
      stat: async () => {
        if (down) throw new KvaultError("STORE_UNAVAILABLE", "Cannot reach the store");
        return undefined;
      },
    });
    const record = recordOf(1, { expireTimeMs: 1_000 });
    await catalogue.begin(record);
    await catalogue.change(record, ACTIVE);
    await remover.sweep(1_000);
    await catalogue.begin(recordOf(1, { buildId: "again" }));
    down = false;
    const before = evicted.length;
    await remover.sweep(2_000);
    await remover.sweep(1_000 + 24 * HOUR_MS);
    expect(evicted).toHaveLength(before);
    expect((await catalogue.get(record.id))?.buildId).toBe("again");
  });
});

describe("Remover.sweep() after the deletion of a build", () => {
  async function deletedWhileBuilding() {
    const all = setUp();
    const record = recordOf(1);
    await all.catalogue.begin(record);
    await all.queue.add({} as BuildJob, { key: record.digest });
    await all.remover.remove(record.id);
    const late = manifestKey(record.id);
    await all.store.put(late, Buffer.from("late"));
    return { ...all, record, late };
  }

  test("clears away a record that its worker wrote late, but not at once", async () => {
    const { remover, store, late } = await deletedWhileBuilding();
    await remover.sweep(Date.now());
    expect(await store.stat(late)).toBeDefined();
    await remover.sweep(Date.now() + 10_000);
    expect(await store.stat(late)).toBeUndefined();
  });

  test("leaves the record of a context that was created again", async () => {
    const { catalogue, remover, store, record, late } = await deletedWhileBuilding();
    await catalogue.begin({ ...record, buildId: "again" });
    await remover.sweep(Date.now() + 10_000);
    expect(await store.stat(late)).toBeDefined();
  });
});

describe("findActive()", () => {
  test("refuses a context past its time before any sweep, and says when it was", async () => {
    const { catalogue } = setUp();
    const record = recordOf(1, { expireTimeMs: 1_000 });
    await catalogue.begin(record);
    await catalogue.change(record, ACTIVE);
    const error = await failureOf(findActive(catalogue, record.id));
    expect(error).toMatchObject({ code: "CONTEXT_EXPIRED", details: { expireTime: "1970-01-01T00:00:01.000Z" } });
  });
});
