import { randomBytes } from "node:crypto";
import { isKvaultError, type KvaultError } from "@kvault/core";
import { failureOf } from "@kvault/core/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openMemoryStore } from "../backends/memory.ts";
import type { BlobStore } from "../blob-store.ts";
import { readPart } from "../record.ts";
import { partKey } from "../record-layout.ts";
import { openRecordWriter } from "../record-writer.ts";
import { KeyRing } from "./key-ring.ts";
import { createMasterKeyLine, parseMasterKeys } from "./master-keys.ts";
import { openPart, type PartPlace, SEALED_PART_BYTES, sealPart } from "./sealed-part.ts";
import { findTenantKeys, obtainTenantKey, rewrapTenantKeys, shredTenantKey, type TenantKey } from "./tenant-keys.ts";

const PLACE: PartPlace = { contextId: `c${"1".repeat(32)}`, layer: 3, part: 1 };
const RECORD = { contextId: PLACE.contextId, tenant: "acme", encryption: "aes-256-gcm/1" } as const;
const keyFor = (): TenantKey => ({ id: randomBytes(8).toString("hex"), key: randomBytes(32) });
/** The key that seals. */
const findTenantKey = async (...args: Parameters<typeof findTenantKeys>): Promise<TenantKey> =>
  (await findTenantKeys(...args)).current;
const masters = (...ids: string[]) => parseMasterKeys(ids.map(createMasterKeyLine).join("\n"));

function failure(work: () => unknown): KvaultError {
  try {
    work();
  } catch (error) {
    if (isKvaultError(error)) return error;
    throw error;
  }
  throw new Error("did not fail");
}

/** Everything in a store, as a thief or a backup has it. */
async function copyOf(store: BlobStore, leaveOut = ""): Promise<BlobStore> {
  const copy = openMemoryStore();
  for await (const key of store.list(""))
    if (leaveOut === "" || !key.startsWith(leaveOut)) await copy.put(key, await store.get(key));
  return copy;
}

describe("sealed part", () => {
  test("opens to the bytes that were sealed, and holds none of them in the clear", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4_096 }), (plain) => {
        const key = keyFor();
        const sealed = sealPart(plain, key, PLACE);
        expect(sealed.byteLength).toBe(plain.byteLength + SEALED_PART_BYTES);
        expect(Buffer.from(openPart(sealed, key, PLACE))).toEqual(Buffer.from(plain));
        if (plain.byteLength >= 8) expect(Buffer.from(sealed).includes(Buffer.from(plain))).toBe(false);
      }),
      { numRuns: 100 },
    );
  });

  test("sealing twice gives different bytes", () => {
    const key = keyFor();
    const plain = Buffer.from("the same");
    expect(sealPart(plain, key, PLACE)).not.toEqual(sealPart(plain, key, PLACE));
  });

  test.each<[string, Partial<PartPlace>]>([
    ["another context", { contextId: `c${"2".repeat(32)}` }],
    ["another layer", { layer: 4 }],
    ["another place in its layer", { part: 0 }],
  ])("does not open in %s", (_, elsewhere) => {
    const key = keyFor();
    const sealed = sealPart(Buffer.from("x"), key, PLACE);
    expect(failure(() => openPart(sealed, key, { ...PLACE, ...elsewhere })).code).toBe("CACHE_CORRUPT");
  });

  test("does not open when any byte is changed", () => {
    const key = keyFor();
    const sealed = sealPart(Buffer.from("some bytes"), key, PLACE);
    for (let i = 0; i < sealed.byteLength; i++) {
      const damaged = Uint8Array.from(sealed);
      damaged[i] = (damaged[i] ?? 0) ^ 1;
      expect(["CACHE_CORRUPT", "STORE_FORBIDDEN"]).toContain(failure(() => openPart(damaged, key, PLACE)).code);
    }
  });

  test("another tenant's key does not open it, even under the same id", () => {
    const key = keyFor();
    const sealed = sealPart(Buffer.from("x"), key, PLACE);
    expect(failure(() => openPart(sealed, keyFor(), PLACE)).code).toBe("STORE_FORBIDDEN");
    expect(failure(() => openPart(sealed, { ...keyFor(), id: key.id }, PLACE)).code).toBe("CACHE_CORRUPT");
  });
});

describe("tenant keys", () => {
  test("many builders at once get one key", async () => {
    const store = openMemoryStore();
    const keys = masters("a");
    const got = await Promise.all(Array.from({ length: 20 }, () => obtainTenantKey(store, "acme", keys)));
    expect(new Set(got.map(({ id }) => id)).size).toBe(1);
    expect(got.every(({ key }) => Buffer.from(key).equals(got[0]?.key ?? Buffer.alloc(0)))).toBe(true);
  });

  test("are not in the store in the clear, and differ between tenants", async () => {
    const store = openMemoryStore();
    const keys = masters("a");
    const [acme, other] = [await obtainTenantKey(store, "acme", keys), await obtainTenantKey(store, "other", keys)];
    expect(Buffer.from(acme.key).equals(other.key)).toBe(false);
    const file = Buffer.from(await store.get("v1/keys/acme.json")).toString("utf8");
    expect(file).not.toContain(Buffer.from(acme.key).toString("base64"));
  });

  test("a re-wrap moves them to the current master key; the old one is then not needed", async () => {
    const store = openMemoryStore();
    const [oldLine, newLine] = [createMasterKeyLine("2025"), createMasterKeyLine("2026")];
    const before = await obtainTenantKey(store, "acme", parseMasterKeys(oldLine));
    const both = parseMasterKeys(`# current first\n${newLine}\n${oldLine}\n`);
    expect(await findTenantKey(store, "acme", both)).toEqual(before);
    expect(await rewrapTenantKeys(store, both)).toBe(1);
    expect(await rewrapTenantKeys(store, both)).toBe(0);
    expect(await findTenantKey(store, "acme", parseMasterKeys(newLine))).toEqual(before);
    expect((await failureOf(findTenantKey(store, "acme", parseMasterKeys(oldLine)))).code).toBe("STORE_FORBIDDEN");
  });

  test("another master key under the same id does not open them", async () => {
    const store = openMemoryStore();
    await obtainTenantKey(store, "acme", masters("a"));
    expect((await failureOf(findTenantKey(store, "acme", masters("a")))).code).toBe("STORE_FORBIDDEN");
  });

  test("one tenant's key file does not pass for another's", async () => {
    const store = openMemoryStore();
    const keys = masters("a");
    await obtainTenantKey(store, "acme", keys);
    const stolen = Buffer.from(await store.get("v1/keys/acme.json")).toString("utf8");
    await store.put("v1/keys/thief.json", Buffer.from(stolen));
    expect((await failureOf(findTenantKey(store, "thief", keys))).code).toBe("CACHE_CORRUPT");
    await store.put("v1/keys/thief.json", Buffer.from(stolen.replace('"acme"', '"thief"')));
    expect((await failureOf(findTenantKey(store, "thief", keys))).code).toBe("STORE_FORBIDDEN");
  });

  test("a deleted tenant gets no new key, and a re-wrap does not bring the old one back", async () => {
    const store = openMemoryStore();
    const keys = masters("a");
    await obtainTenantKey(store, "acme", keys);
    await shredTenantKey(store, "acme");
    await shredTenantKey(store, "acme");
    expect((await failureOf(obtainTenantKey(store, "acme", keys))).code).toBe("STORE_FORBIDDEN");
    expect(await rewrapTenantKeys(store, masters("b"))).toBe(0);
    expect((await failureOf(findTenantKey(store, "acme", keys))).code).toBe("STORE_FORBIDDEN");
  });
});

describe("KeyRing", () => {
  /** A record of one sealed part. */
  async function stored(store: BlobStore, ring: KeyRing): Promise<{ sha256: string; bytes: number }> {
    const seal = await ring.sealer("acme");
    const writer = openRecordWriter(store, PLACE.contextId);
    return writer.putPart(seal?.(Buffer.from("a customer's keys and values"), PLACE) ?? Buffer.from("not sealed"));
  }

  test("a deleted tenant's bytes cannot be decrypted, with the store, a copy of it and the master key in hand", async () => {
    const store = openMemoryStore();
    const keys = masters("a");
    const ref = await stored(store, new KeyRing(store, keys));
    const backup = await copyOf(store, "v1/keys/");
    const opened = await (await new KeyRing(store, keys).opener(RECORD))(await readPart(store, PLACE.contextId, ref), PLACE);
    expect(Buffer.from(opened).toString()).toBe("a customer's keys and values");

    await shredTenantKey(store, "acme");
    for (const copy of [store, backup]) {
      const bytes = await copy.get(partKey(PLACE.contextId, ref.sha256));
      expect((await failureOf(new KeyRing(copy, keys).opener(RECORD))).code).toBe("STORE_FORBIDDEN");
      const another = keyFor();
      expect(isKvaultError(failure(() => openPart(bytes, another, PLACE)))).toBe(true);
      expect(Buffer.from(bytes).includes("customer")).toBe(false);
    }
  });

  test("forgets a key soon after its tenant was deleted", async () => {
    const store = openMemoryStore();
    let nowMs = 0;
    const ring = new KeyRing(store, masters("a"), () => nowMs);
    await stored(store, ring);
    await ring.opener(RECORD);
    await shredTenantKey(store, "acme");
    nowMs += 60_000;
    expect((await failureOf(ring.opener(RECORD))).code).toBe("STORE_FORBIDDEN");
    expect((await failureOf(ring.sealer("acme"))).code).toBe("STORE_FORBIDDEN");
  });

  test("a build's request waits sealed, opens for its own context alone, and passes through without keys", async () => {
    const store = openMemoryStore();
    const ring = new KeyRing(store, masters("a"));
    const request = Buffer.from(
      "a customer's text that waits in a queue for its turn to be built, longer than a header is: ".repeat(2),
    );
    const sealed = await ring.sealRequest(request, "acme", PLACE.contextId);
    expect(Buffer.from(sealed).includes("customer")).toBe(false);
    expect(Buffer.from(await ring.openRequest(sealed, "acme", PLACE.contextId))).toEqual(request);
    expect((await failureOf(ring.openRequest(sealed, "acme", `c${"2".repeat(32)}`))).code).toBe("CACHE_CORRUPT");
    const without = new KeyRing(store, undefined);
    expect(await without.sealRequest(request, "acme", PLACE.contextId)).toBe(request);
    expect(await without.openRequest(request, "acme", PLACE.contextId)).toBe(request);
    expect((await failureOf(without.openRequest(sealed, "acme", PLACE.contextId))).code).toBe("STORE_FORBIDDEN");
  });

  test("without master keys nothing is sealed, and what is sealed is refused by name", async () => {
    const store = openMemoryStore();
    const ring = new KeyRing(store, undefined);
    expect(await ring.sealer("acme")).toBeUndefined();
    expect((await failureOf(ring.opener(RECORD))).code).toBe("STORE_FORBIDDEN");
    const plain = Buffer.from("x");
    expect(await (await ring.opener({ contextId: PLACE.contextId }))(plain, PLACE)).toBe(plain);
  });
});

describe("parseMasterKeys()", () => {
  test.each([
    ["nothing", "\n# a comment\n"],
    ["a short key", "a AAAA"],
    ["no id", Buffer.alloc(32).toString("base64")],
    ["an id twice", "a ".concat(Buffer.alloc(32).toString("base64"), "\na ", Buffer.alloc(32, 1).toString("base64"))],
  ])("refuses %s without repeating it", (_, text) => {
    const error = failure(() => parseMasterKeys(text));
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(error.message).not.toContain("AAAA");
  });
});
