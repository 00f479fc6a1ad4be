import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ContextManifest } from "./manifest.ts";
import { encodeManifest, MANIFEST_LIMITS, parseManifest } from "./manifest.ts";
import { sampleIdentity, sampleManifest } from "./testing/sample-record.ts";

const part = { sha256: "a".repeat(64), bytes: 1000 };
const manifest = sampleManifest(sampleIdentity("text"), [
  { parts: [part], headLengths: [2, 7] },
  { parts: [part, { sha256: "b".repeat(64), bytes: 500 }], headLengths: [12, 3] },
]);

type Json = { [key: string]: Json } & Json[] & (string | number | boolean | null);

/** The manifest's file with one value replaced; `undefined` removes it. */
function withChange(path: string, value: unknown): Uint8Array {
  const copy = JSON.parse(Buffer.from(encodeManifest(manifest)).toString()) as Json;
  const keys = path.split(".");
  const last = keys.pop() as string;
  const holder = keys.reduce((at, key) => at[key] as Json, copy) as Record<string, unknown>;
  if (value === undefined) delete holder[last];
  else holder[last] = value;
  return Buffer.from(JSON.stringify(copy));
}

describe("createManifest()", () => {
  test("computes every figure that follows from the others", () => {
    expect(manifest).toMatchObject({
      schema: "kvault.context/1",
      nextPosition: 12,
      contextId: `c${manifest.digest.slice(0, 32)}`,
    });
    // 2 layers of 2 heads: 48 pairs of 4 + 4 halves; prefix 8 pairs of the 24 kept, 40 pairs of context.
    expect(manifest.report).toMatchObject({
      spec: manifest.identity.spec,
      keptPairs: 24,
      totalPairs: 48,
      keptRatio: 16 / 40,
      rawBytesF16: 48 * 8 * 2,
      storedBytes: 1500, // the part that both name is stored once
    });
  });

  test("counts a windowed layer by its window, and not in the ratio that was kept", () => {
    const windowed = sampleManifest(sampleIdentity("text"), [
      { parts: [part], headLengths: [2, 7] },
      { parts: [part], headLengths: [5, 5], windowTokens: 5 },
    ]);
    // the other layer: 24 pairs, 9 kept, 4 of them prefix; the window: 2 heads of 5
    expect(windowed.report).toMatchObject({ keptPairs: 19, totalPairs: 24 + 10, keptRatio: 5 / 20 });
    expect(parseManifest(encodeManifest(windowed))).toEqual(windowed);
    const layers = [manifest.layers[0], { parts: [part], headLengths: [5, 4], windowTokens: 5 }] as const;
    expect(() => encodeManifest(sampleManifest(sampleIdentity("text"), layers as never))).toThrow("layers.1.headLengths.1");
  });
});

describe("encodeManifest()", () => {
  test("is read back by parseManifest()", () => {
    expect(parseManifest(encodeManifest(manifest))).toEqual(manifest);
  });

  test("gives the same bytes whatever order keys were set in", () => {
    const reversed = Object.fromEntries(Object.entries(manifest).reverse()) as unknown as ContextManifest;
    expect(encodeManifest(reversed)).toEqual(encodeManifest(manifest));
  });

  test("refuses a manifest that contradicts itself", () => {
    expect(() => encodeManifest({ ...manifest, nextPosition: 11 })).toThrow("nextPosition: found 11, expected 12");
    expect(() => encodeManifest({ ...manifest, displayName: "x".repeat(300) })).toThrow(RangeError);
  });

  test("keeps labels of any name", () => {
    const labels = JSON.parse('{"__proto__": "a", "constructor": "b", "é": "c"}') as Record<string, string>;
    const read = parseManifest(encodeManifest({ ...manifest, labels }));
    expect(Object.entries(read.labels).sort()).toEqual(Object.entries(labels).sort());
  });
});

describe("parseManifest()", () => {
  test.each<[field: string, value: unknown]>([
    ["digest", "b".repeat(64)],
    ["contextId", `c${"0".repeat(32)}`],
    ["identity.spec", "none|global|top-k(keep=1)|f16"],
    ["identity.tenantSalt", "other"],
    ["identity.weightsSha256", "A".repeat(64)],
    ["nextPosition", 13],
    ["prefixTokens", 3],
    ["contextTokens", 0],
    ["contextTokens", 1.5],
    ["contextTokens", MANIFEST_LIMITS.tokens + 1],
    ["model.numLayers", 3],
    ["model.numLayers", MANIFEST_LIMITS.layers + 1],
    ["model.numKvHeads", 3],
    ["model.headDim", 8],
    ["layers", []],
    ["layers.0.windowTokens", 0],
    ["layers.0.windowTokens", 5],
    ["layers.0.headLengths", [2, 7, 0]],
    ["layers.0.headLengths", [3, 7]],
    ["layers.0.headLengths.0", -2],
    ["layers.1.headLengths", [13, 2]],
    ["layers.0.parts", []],
    ["layers.0.parts.0.bytes", 999],
    ["layers.0.parts.0.bytes", MANIFEST_LIMITS.partBytes + 1],
    ["layers.0.parts.0.sha256", "../../../etc/passwd"],
    ["report.keptPairs", 25],
    ["report.keptRatio", 0.41],
    ["report.keepRatio", 0],
    ["report.totalPairs", 47],
    ["report.rawBytesF16", 1],
    ["report.storedBytes", 2500],
    ["layers.1.parts.0.bytes", 999],
    ["report.spec", "other"],
    ["report.seconds.load", -1],
    ["report.seconds.load", null],
    ["report.queryAgnostic", "yes"],
    ["labels", { a: 1 }],
    ["labels", Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`l${i}`, ""]))],
    ["expireTimeMs", undefined],
    ["schema", undefined],
    ["extra", 1],
    ["identity.extra", 1],
  ])("refuses %s of %j as CACHE_CORRUPT, naming a field", (field, value) => {
    expect(() => parseManifest(withChange(field, value))).toThrow(
      expect.objectContaining({
        code: "CACHE_CORRUPT",
        details: { field: expect.not.stringMatching(/^checksum$/), found: expect.any(String) },
      }),
    );
  });

  test("names another schema version as INCOMPATIBLE_FORMAT", () => {
    expect(() => parseManifest(withChange("schema", "kvault.context/2"))).toThrow(
      expect.objectContaining({
        code: "INCOMPATIBLE_FORMAT",
        details: { field: "schema", expected: "kvault.context/1", found: "kvault.context/2" },
      }),
    );
  });

  test("names another record format version as INCOMPATIBLE_FORMAT", () => {
    const other = sampleManifest(sampleIdentity("text", { formatVersion: 2 }), manifest.layers);
    expect(() => parseManifest(encodeManifest(other))).toThrow(
      expect.objectContaining({ code: "INCOMPATIBLE_FORMAT", details: { field: "formatVersion", expected: 1, found: "2" } }),
    );
  });

  test("refuses what is no JSON object, or too large to look at", () => {
    for (const text of ["", "{", "null", "[]", '"kvault.context/1"', "12"]) {
      expect(() => parseManifest(Buffer.from(text))).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
    }
    expect(() => parseManifest(new Uint8Array(MANIFEST_LIMITS.manifestBytes + 1))).toThrow("limit");
    expect(() => parseManifest(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
  });

  test("refuses every cut", () => {
    const bytes = encodeManifest(manifest);
    fc.assert(
      fc.property(fc.nat(bytes.byteLength - 2), (length) => {
        expect(() => parseManifest(bytes.subarray(0, length))).toThrow(expect.objectContaining({ code: "CACHE_CORRUPT" }));
      }),
    );
  });

  test("refuses a change that contradicts nothing else by the checksum", () => {
    for (const [field, value] of [
      ["createTimeMs", 5],
      ["report.queryAgnostic", false],
      ["labels.team", "others"],
      ["checksum", "0".repeat(64)],
      ["checksum", undefined],
    ] as const) {
      expect(() => parseManifest(withChange(field, value))).toThrow(
        expect.objectContaining({ code: "CACHE_CORRUPT", details: expect.objectContaining({ field: "checksum" }) }),
      );
    }
  });

  test("refuses every flipped bit", () => {
    const bytes = encodeManifest(manifest);
    const lastNewline = bytes.byteLength - 1; // white space to JSON, as are some of its neighbours
    fc.assert(
      fc.property(fc.nat(lastNewline * 8 - 1), (bit) => {
        const damaged = Uint8Array.from(bytes);
        damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(() => parseManifest(damaged)).toThrow(
          expect.objectContaining({ code: expect.stringMatching(/^(CACHE_CORRUPT|INCOMPATIBLE_FORMAT)$/) }),
        );
      }),
      { numRuns: 500 },
    );
  });
});
