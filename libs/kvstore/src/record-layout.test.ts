import { describe, expect, test } from "vitest";
import { checkKey, checkPrefix } from "./blob-store.ts";
import { attributesKey, manifestKey, parseRecordKey, partKey, partsPrefix } from "./record-layout.ts";

const id = `c${"0a".repeat(16)}`;
const sha256 = "b".repeat(64);

describe("record keys", () => {
  test("follow the store's rules and are read back", () => {
    checkKey(manifestKey(id));
    checkKey(partKey(id, sha256));
    checkPrefix(partsPrefix(id));
    expect(parseRecordKey(manifestKey(id))).toEqual({ contextId: id, isManifest: true });
    expect(parseRecordKey(partKey(id, sha256))).toEqual({ contextId: id, isManifest: false, part: sha256 });
    const attributes = { createTimeMs: 1_700_000_000_000, revision: 7 };
    checkKey(attributesKey(id, attributes));
    expect(parseRecordKey(attributesKey(id, attributes))).toEqual({ contextId: id, isManifest: false, attributes });
  });

  test("put attributes in order of their record, then revision, before the manifest", () => {
    const keys = [
      attributesKey(id, { createTimeMs: 999, revision: 12 }),
      attributesKey(id, { createTimeMs: 1_000, revision: 2 }),
      attributesKey(id, { createTimeMs: 1_000, revision: 10 }),
      manifestKey(id),
    ];
    expect([...keys].reverse().sort()).toEqual(keys);
  });

  test("put a context's parts right after its manifest", () => {
    const other = `c${"0b".repeat(16)}`;
    const keys = [manifestKey(id), partKey(id, sha256), manifestKey(other)];
    expect([...keys].reverse().sort()).toEqual(keys);
  });

  test("are not found in other keys", () => {
    for (const key of [
      "v1/contexts/x/manifest.json",
      `v2/contexts/${id}/manifest.json`,
      `${manifestKey(id)}.x`,
      `${partsPrefix(id)}x.bin`,
    ]) {
      expect(parseRecordKey(key)).toBeUndefined();
    }
  });

  test("are refused for what is no context id", () => {
    for (const name of ["", "../x", `${id}/..`, `contexts/${id}`]) {
      expect(() => manifestKey(name)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    }
  });
});
