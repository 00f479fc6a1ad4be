import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ContextIdentity } from "./identity.ts";
import { contextDigest, contextIdOf, isContextId } from "./identity.ts";

const IDENTITY: ContextIdentity = {
  weightsSha256: "1".repeat(64),
  tokenizerSha256: "2".repeat(64),
  templateSha256: "3".repeat(64),
  rope: "rope(theta=1000000,dim=64)",
  contentSha256: "4".repeat(64),
  spec: "kvzip(chunk=2000,form=paper)|global|top-k(keep=0.3)|f16",
  formatVersion: 1,
  tenantSalt: "",
};

describe("contextDigest()", () => {
  // Computed with CPython's hashlib and struct.
  test("has golden digests", () => {
    expect(contextDigest(IDENTITY)).toBe("6b2afb5ec50781f94daefb0bdddfdda5602d4543dbd4f90cae0ff85af15c7b1e");
    const salted = contextDigest({ ...IDENTITY, tenantSalt: "acme" });
    expect(salted).toBe("6874b83844a6bcf3cc6ab48a60d64896dafadacd45f60ce8c74bfff1d03b4df1");
  });

  test("changes with any one field, and not with the order they are written in", () => {
    const fields = Object.keys(IDENTITY) as (keyof ContextIdentity)[];
    fc.assert(
      fc.property(fc.constantFrom(...fields), fc.string({ unit: "grapheme" }), fc.nat(), (field, text, number) => {
        const value = field === "formatVersion" ? number : text;
        fc.pre(value !== IDENTITY[field]);
        expect(contextDigest({ ...IDENTITY, [field]: value })).not.toBe(contextDigest(IDENTITY));
      }),
    );
    const reversed = Object.fromEntries(Object.entries(IDENTITY).reverse()) as unknown as ContextIdentity;
    expect(contextDigest(reversed)).toBe(contextDigest(IDENTITY));
  });

  test("changes with the profiles, and stays what it was where there are none", () => {
    expect(contextDigest({ ...IDENTITY, profiles: undefined })).toBe(contextDigest(IDENTITY));
    expect(contextDigest({ ...IDENTITY, profiles: `surrogate=${"a".repeat(64)}` })).not.toBe(contextDigest(IDENTITY));
  });

  test("tells apart the same values in other fields", () => {
    const swapped = { ...IDENTITY, rope: IDENTITY.spec, spec: IDENTITY.rope };
    expect(contextDigest(swapped)).not.toBe(contextDigest(IDENTITY));
  });
});

describe("contextIdOf()", () => {
  test("is c and the first 32 digits, an id that isContextId() accepts", () => {
    const id = contextIdOf(contextDigest(IDENTITY));
    expect(id).toBe("c6b2afb5ec50781f94daefb0bdddfdda5");
    expect(isContextId(id)).toBe(true);
  });

  test("refuses what is no digest", () => {
    for (const digest of ["", "6b2a", "A".repeat(64), `${"a".repeat(64)}\n`])
      expect(() => contextIdOf(digest)).toThrow(RangeError);
  });
});

describe("isContextId()", () => {
  test("accepts nothing else", () => {
    const digits = "0".repeat(32);
    const others = [
      "",
      digits,
      `c${digits}0`,
      `C${digits}`,
      `c${digits}\n`,
      `contexts/c${digits}`,
      `c${"g".repeat(32)}`,
      "../../etc",
    ];
    expect(others.filter(isContextId)).toEqual([]);
  });
});
