import { KvaultError } from "@kvault/core";
import { failureOf } from "@kvault/core/testing";
import { describe, expect, test } from "vitest";
import { openMemoryStore } from "../backends/memory.ts";
import type { BlobStore } from "../blob-store.ts";
import { type ContextManifest, createManifest, ENCRYPTION } from "../manifest.ts";
import { deleteRecord, listRecords, readManifest, readPart } from "../record.ts";
import { partsPrefix } from "../record-layout.ts";
import { openRecordWriter } from "../record-writer.ts";
import { sampleIdentity, sampleManifest } from "../testing/sample-record.ts";
import { KeyRing } from "./key-ring.ts";
import { createMasterKeyLine, type MasterKeys, parseMasterKeys } from "./master-keys.ts";
import { type ResealOptions, resealRecords } from "./reseal-records.ts";
import { sealedKeyId } from "./sealed-part.ts";
import { findTenantKeys, obtainTenantKey, rewrapTenantKeys, rotateTenantKey, shredTenantKey } from "./tenant-keys.ts";

const HOUR_MS = 3_600_000;
const PLAIN = ["layer zero, a customer's", "layer one, a customer's"];

const masterKeys = (id = "a"): MasterKeys => parseMasterKeys(createMasterKeyLine(id));

/** Nobody else is there. */
const ALONE: ResealOptions = { alone: (_, work) => work(), unread: async () => undefined, retireAfterMs: 24 * HOUR_MS };

/** A record of two sealed parts, as a builder publishes it. */
async function publish(store: BlobStore, masters: MasterKeys, text: string, tenant = "acme"): Promise<ContextManifest> {
  const identity = sampleIdentity(text);
  const { contextId } = sampleManifest(
    identity,
    [0, 1].map(() => ({ parts: [], headLengths: [1, 1] })),
  );
  const seal = await new KeyRing(store, masters).sealer(tenant);
  if (seal === undefined) throw new Error("not sealed");
  const writer = openRecordWriter(store, contextId);
  const layers = [];
  for (const [layer, plain] of PLAIN.entries()) {
    layers.push({ parts: [await writer.putPart(seal(Buffer.from(plain), { contextId, layer, part: 0 }))], headLengths: [1, 1] });
  }
  const manifest = createManifest({ ...sampleManifest(identity, layers), tenant, encryption: ENCRYPTION });
  return (await writer.commit(manifest)).manifest;
}

/** What a reader gets of a record now. */
async function read(
  store: BlobStore,
  masters: MasterKeys,
  contextId: string,
  ring = new KeyRing(store, masters),
): Promise<string[]> {
  const manifest = await readManifest(store, contextId);
  const open = await ring.opener(manifest);
  const texts: string[] = [];
  for (const [layer, { parts }] of manifest.layers.entries()) {
    for (const [part, ref] of parts.entries()) {
      texts.push(Buffer.from(await open(await readPart(store, contextId, ref), { contextId, layer, part })).toString());
    }
  }
  return texts;
}

async function partsOf(store: BlobStore, contextId: string): Promise<Uint8Array[]> {
  const parts: Uint8Array[] = [];
  for await (const key of store.list(partsPrefix(contextId))) parts.push(await store.get(key));
  return parts;
}

/** `store` of a process that is killed before its write number `write`. */
function killedBefore(store: BlobStore, write: number): BlobStore {
  let writes = 0;
  const alive = (method: string): void => {
    if ((method === "put" || method === "delete") && writes++ >= write) writes = Number.POSITIVE_INFINITY;
    if (writes === Number.POSITIVE_INFINITY) throw new KvaultError("CLOSED", "killed");
  };
  return new Proxy(store, {
    get(target, key) {
      const value = Reflect.get(target, key) as unknown;
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        alive(String(key));
        return value.apply(target, args) as unknown;
      };
    },
  });
}

describe("rotateTenantKey()", () => {
  test("seals what comes with another key; what was sealed before opens, also where keys were kept from before", async () => {
    const [store, masters] = [openMemoryStore(), masterKeys()];
    const ring = new KeyRing(store, masters);
    const old = await publish(store, masters, "old");
    expect(await read(store, masters, old.contextId, ring)).toEqual(PLAIN);
    const key = await rotateTenantKey(store, "acme", masters);
    const fresh = await publish(store, masters, "fresh");
    expect((await partsOf(store, fresh.contextId)).map(sealedKeyId)).toEqual([key.id, key.id]);
    for (const { contextId } of [old, fresh]) expect(await read(store, masters, contextId, ring)).toEqual(PLAIN);
  });

  test("at once with others, and with first builders, loses no key that anybody got", async () => {
    const [store, masters] = [openMemoryStore(), masterKeys()];
    const got = [await obtainTenantKey(store, "acme", masters)];
    const rotating = Array.from({ length: 3 }, () => rotateTenantKey(store, "acme", masters));
    const obtaining = Array.from({ length: 10 }, () => obtainTenantKey(store, "acme", masters));
    for (const each of await Promise.allSettled([...rotating, ...obtaining]))
      if (each.status === "fulfilled") got.push(each.value);
    const { byId } = await findTenantKeys(store, "acme", masters);
    for (const { id, key } of got) expect(Buffer.from(byId.get(id)?.key ?? []).equals(key)).toBe(true);
  });

  test("is refused for a tenant without a key, and for one that was deleted; no key comes back", async () => {
    const [store, masters] = [openMemoryStore(), masterKeys()];
    expect((await failureOf(rotateTenantKey(store, "acme", masters))).code).toBe("STORE_FORBIDDEN");
    await obtainTenantKey(store, "acme", masters);
    await rotateTenantKey(store, "acme", masters);
    await shredTenantKey(store, "acme");
    expect((await failureOf(rotateTenantKey(store, "acme", masters))).code).toBe("STORE_FORBIDDEN");
    expect((await failureOf(obtainTenantKey(store, "acme", masters))).code).toBe("STORE_FORBIDDEN");
    for await (const name of store.list("v1/keys/"))
      expect(Buffer.from(await store.get(name)).toString()).not.toContain("wrapped");
  });

  test("and a re-wrap that are overtaken by the tenant's deletion take away what they wrote", async () => {
    for (const work of [
      rotateTenantKey,
      (store: BlobStore, _: string, masters: MasterKeys) => rewrapTenantKeys(store, masters),
    ]) {
      const store = openMemoryStore();
      const lines = [createMasterKeyLine("old"), createMasterKeyLine("new")] as const;
      await obtainTenantKey(store, "acme", parseMasterKeys(lines[0]));
      const overtaken = new Proxy(store, {
        get(target, key) {
          if (key !== "put") {
            const value = Reflect.get(target, key) as unknown;
            return typeof value === "function" ? value.bind(target) : value;
          }
          return async (...args: Parameters<BlobStore["put"]>) => {
            await shredTenantKey(store, "acme");
            await target.put(...args);
          };
        },
      });
      const failure = await failureOf(work(overtaken, "acme", parseMasterKeys(`${lines[1]}\n${lines[0]}`)) as Promise<unknown>);
      expect(failure.code).toBe("STORE_FORBIDDEN");
      for await (const name of store.list("v1/keys/"))
        expect(Buffer.from(await store.get(name)).toString()).not.toContain("wrapped");
    }
  });

  test("a re-wrap moves all of a tenant's keys to another master key", async () => {
    const store = openMemoryStore();
    const [oldLine, newLine] = [createMasterKeyLine("old"), createMasterKeyLine("new")];
    const old = parseMasterKeys(oldLine);
    const { contextId } = await publish(store, old, "text");
    await rotateTenantKey(store, "acme", old);
    expect(await rewrapTenantKeys(store, parseMasterKeys(`${newLine}\n${oldLine}`))).toBe(2);
    expect(await read(store, parseMasterKeys(newLine), contextId)).toEqual(PLAIN);
  });
});

describe("resealRecords()", () => {
  test("seals everything of the tenant with its current key, and nothing else; contexts stay what they are", async () => {
    const [store, masters] = [openMemoryStore(), masterKeys()];
    const mine = [await publish(store, masters, "one"), await publish(store, masters, "two")];
    const other = await publish(store, masters, "three", "other");
    const before = await partsOf(store, other.contextId);
    const key = await rotateTenantKey(store, "acme", masters);
    expect(await resealRecords(store, "acme", masters, ALONE)).toEqual({
      ...{ resealedRecords: 2, resealedParts: 4, broken: [], retiredKeys: 0 },
    });
    for (const { contextId, digest, report } of mine) {
      expect((await partsOf(store, contextId)).map(sealedKeyId)).toEqual([key.id, key.id]);
      expect(await read(store, masters, contextId)).toEqual(PLAIN);
      expect(await readManifest(store, contextId)).toMatchObject({ digest, report });
    }
    expect(await partsOf(store, other.contextId)).toEqual(before);
    expect((await resealRecords(store, "acme", masters, ALONE)).resealedRecords).toBe(0);
  });

  test("takes away a key a day after its last use, first one or not; a new first one is not made", async () => {
    const [store, masters] = [openMemoryStore(), masterKeys()];
    const { contextId } = await publish(store, masters, "text");
    const startMs = Date.now();
    await rotateTenantKey(store, "acme", masters, { nowMs: startMs });
    const current = await rotateTenantKey(store, "acme", masters, { nowMs: startMs + HOUR_MS });
    const at = (nowMs: number): ResealOptions => ({ ...ALONE, nowMs });
    expect((await resealRecords(store, "acme", masters, at(startMs + 23 * HOUR_MS))).retiredKeys).toBe(0);
    expect((await resealRecords(store, "acme", masters, at(startMs + 24 * HOUR_MS))).retiredKeys).toBe(1);
    expect((await resealRecords(store, "acme", masters, at(startMs + 26 * HOUR_MS))).retiredKeys).toBe(1);
    expect([...(await findTenantKeys(store, "acme", masters)).byId.keys()]).toEqual([current.id]);
    expect((await obtainTenantKey(store, "acme", masters)).id).toBe(current.id);
    expect(await read(store, masters, contextId)).toEqual(PLAIN);
  });

  test("keeps every key when a record cannot be read", async () => {
    const [store, masters] = [openMemoryStore(), masterKeys()];
    const { contextId } = await publish(store, masters, "text");
    await rotateTenantKey(store, "acme", masters, { nowMs: 1 });
    for await (const key of store.list(partsPrefix(contextId))) await store.put(key, Buffer.from("damaged"));
    const report = await resealRecords(store, "acme", masters, ALONE);
    expect(report).toMatchObject({ broken: [contextId], retiredKeys: 0 });
  });

  test("killed before any of its writes it leaves every record whole, and the next run ends the work", async () => {
    for (let write = 0; ; write++) {
      const [store, masters] = [openMemoryStore(), masterKeys()];
      const ids = [(await publish(store, masters, "one")).contextId, (await publish(store, masters, "two")).contextId];
      const key = await rotateTenantKey(store, "acme", masters, { nowMs: 1 });
      const outcome = await resealRecords(killedBefore(store, write), "acme", masters, ALONE).catch(
        (error: KvaultError) => error.code,
      );
      for (const id of ids) expect(await read(store, masters, id)).toEqual(PLAIN);
      await resealRecords(store, "acme", masters, ALONE);
      for (const id of ids) {
        expect(await read(store, masters, id)).toEqual(PLAIN);
        const named = (await readManifest(store, id)).layers.flatMap(({ parts }) => parts);
        for (const ref of named) expect(sealedKeyId(await readPart(store, id, ref))).toBe(key.id);
      }
      expect([...(await findTenantKeys(store, "acme", masters)).byId.keys()]).toEqual([key.id]);
      if (outcome !== "CLOSED") {
        expect(write).toBeGreaterThan(8);
        break;
      }
    }
  });

  test("a tenant deleted in the middle is gone: nothing opens, with every copy and the master key in hand", async () => {
    const [store, masters] = [openMemoryStore(), masterKeys()];
    const { contextId } = await publish(store, masters, "text");
    const copies = await partsOf(store, contextId);
    await rotateTenantKey(store, "acme", masters);
    const resealing = resealRecords(store, "acme", masters, { ...ALONE, unread: () => shredTenantKey(store, "acme") });
    expect((await failureOf(resealing)).code).toBe("STORE_FORBIDDEN");
    copies.push(...(await partsOf(store, contextId)));
    expect(copies.length).toBeGreaterThan(2);
    expect((await failureOf(read(store, masters, contextId))).code).toBe("STORE_FORBIDDEN");
    await expect(findTenantKeys(store, "acme", masters)).rejects.toMatchObject({ code: "STORE_FORBIDDEN" });
  });

  test("a context deleted before its turn stays deleted", async () => {
    const [store, masters] = [openMemoryStore(), masterKeys()];
    const { contextId } = await publish(store, masters, "text");
    await rotateTenantKey(store, "acme", masters);
    const alone = async (id: string, work: () => Promise<void>): Promise<void> => {
      await deleteRecord(store, id);
      await work();
    };
    expect((await resealRecords(store, "acme", masters, { ...ALONE, alone })).resealedRecords).toBe(0);
    for await (const { manifest } of listRecords(store)) expect(manifest.contextId).not.toBe(contextId);
  });
});
