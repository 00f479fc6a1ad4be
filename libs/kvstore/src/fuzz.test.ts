/** Any bytes where a manifest or a part should be: a typed error or what was written, never a crash or a hang. */
import { randomBytes } from "node:crypto";
import { decodeSafetensors, isKvaultError, sha256Hex } from "@kvault/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openMemoryStore } from "./backends/memory.ts";
import { openPart, sealPart } from "./encryption/sealed-part.ts";
import { encodeManifest, parseManifest } from "./manifest.ts";
import { readManifest, readPart } from "./record.ts";
import { manifestKey, partKey } from "./record-layout.ts";
import { publishSample } from "./testing/sample-record.ts";

/** Of 10,000 cases; the rest are the gateway's. */
const MANIFEST_RUNS = 3_700;
const PART_RUNS = 3_700;

const READ_ERRORS = ["CACHE_CORRUPT", "INCOMPATIBLE_FORMAT"];
const MANIFEST = await publishSample(openMemoryStore(), "A text.");
const ENCODED = Buffer.from(encodeManifest(MANIFEST));
const PLACE = { contextId: MANIFEST.contextId, layer: 0, part: 0 };
const KEY = { id: "0123456789abcdef", key: randomBytes(32) };

/** Bytes of a good value with some of them changed, cut, doubled or put in. */
function damaged(good: Uint8Array): fc.Arbitrary<Uint8Array> {
  const at = fc.nat({ max: good.byteLength });
  const change = fc.tuple(at, fc.constantFrom("flip", "cut", "insert", "double"), fc.uint8Array({ minLength: 1, maxLength: 8 }));
  return fc.array(change, { minLength: 1, maxLength: 6 }).map((changes) => {
    let bytes = Buffer.from(good);
    for (const [where, how, other] of changes) {
      const i = Math.min(where, bytes.byteLength);
      if (how === "flip" && i < bytes.byteLength) bytes[i] = (bytes[i] ?? 0) ^ (other[0] || 1);
      if (how === "cut") bytes = bytes.subarray(0, i);
      if (how === "insert") bytes = Buffer.concat([bytes.subarray(0, i), other, bytes.subarray(i)]);
      if (how === "double") bytes = Buffer.concat([bytes.subarray(0, i), bytes.subarray(0, i)]);
    }
    return bytes;
  });
}

/** The manifest as JSON with one value, anywhere in it, replaced by another, and a checksum that fits. */
const replaced: fc.Arbitrary<Uint8Array> = fc.tuple(fc.nat(), fc.jsonValue({ maxDepth: 3 })).map(([n, value]) => {
  const { checksum: _, ...tree } = JSON.parse(ENCODED.toString("utf8")) as Record<string, unknown>;
  const places: [object, string][] = [];
  const visit = (node: unknown): void => {
    if (typeof node !== "object" || node === null) return;
    for (const [key, child] of Object.entries(node)) {
      places.push([node, key]);
      visit(child);
    }
  };
  visit(tree);
  const [node, key] = places[n % places.length] as [Record<string, unknown>, string];
  node[key] = value;
  return Buffer.from(JSON.stringify({ ...tree, checksum: sha256Hex(JSON.stringify(tree)) }));
});

/** What `work` gave, or the code of the typed error that it failed with; anything else fails the test. */
async function outcomeOf<T>(work: () => T | Promise<T>): Promise<{ value: T } | { code: string }> {
  try {
    return { value: await work() };
  } catch (error) {
    if (!isKvaultError(error)) throw error;
    return { code: error.code };
  }
}

describe("the manifest reader", () => {
  const anyManifest = fc.oneof(fc.uint8Array({ maxLength: 512 }), damaged(ENCODED), damaged(ENCODED), replaced, replaced);

  test("takes a manifest that agrees with itself and nothing else", async () => {
    const store = openMemoryStore();
    let refused = 0;
    const run = async (bytes: Uint8Array): Promise<void> => {
      await store.put(manifestKey(MANIFEST.contextId), bytes);
      const outcome = await outcomeOf(() => readManifest(store, MANIFEST.contextId));
      if ("value" in outcome) {
        expect(encodeManifest(outcome.value)).toEqual(encodeManifest(parseManifest(bytes)));
      } else {
        expect(READ_ERRORS).toContain(outcome.code);
        refused++;
      }
    };
    await fc.assert(fc.asyncProperty(anyManifest, run), { numRuns: MANIFEST_RUNS });
    expect(refused).toBeGreaterThan(MANIFEST_RUNS / 2);
  });
});

describe("the part reader", () => {
  const plain = randomBytes(600);
  const sealed = sealPart(plain, KEY, PLACE);
  const anyPart = fc.oneof(fc.uint8Array({ maxLength: 700 }), damaged(sealed), damaged(sealed));

  test("gives the bytes that were sealed, or a typed error", async () => {
    const store = openMemoryStore();
    const honest = { sha256: sha256Hex(sealed), bytes: sealed.byteLength };
    const run = async (bytes: Uint8Array): Promise<void> => {
      await store.put(partKey(PLACE.contextId, honest.sha256), bytes);
      // The store lies about the part…
      const read = await outcomeOf(() => readPart(store, PLACE.contextId, honest));
      if ("value" in read) expect(Buffer.from(read.value).equals(sealed)).toBe(true);
      else expect(["CACHE_CORRUPT", "CONTEXT_NOT_FOUND"]).toContain(read.code);
      // …or the manifest does, and the digest fits the wrong bytes.
      const opened = await outcomeOf(() => openPart(bytes, KEY, PLACE));
      if ("value" in opened) expect(Buffer.from(opened.value).equals(plain)).toBe(true);
      else expect(["CACHE_CORRUPT", "STORE_FORBIDDEN"]).toContain(opened.code);
      // What is in a part is read with the same suspicion.
      const tensors = await outcomeOf(() => decodeSafetensors(bytes));
      if ("code" in tensors) expect(tensors.code).toBe("CACHE_CORRUPT");
    };
    await fc.assert(fc.asyncProperty(anyPart, run), { numRuns: PART_RUNS });
  });
});
