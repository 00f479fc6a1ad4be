import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { checkKey, checkPrefix } from "./blob-store.ts";

describe("checkKey()", () => {
  const segment = fc.stringMatching(/^[a-z0-9_-]{1,20}$/);

  test("accepts folders without dots and a name with an extension", () => {
    fc.assert(
      fc.property(fc.array(segment, { maxLength: 6 }), segment, segment, (folders, stem, extension) => {
        expect(() => checkKey([...folders, `${stem}.${extension}`].join("/"))).not.toThrow();
      }),
    );
  });

  test("accepts nothing that a path could read as another place", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(..."ab./\\_-%~:A\0\n é") }), (key) => {
        let accepted = true;
        try {
          checkKey(key);
        } catch (error) {
          expect(error).toMatchObject({ code: "INVALID_ARGUMENT", details: { field: "key" } });
          accepted = false;
        }
        if (accepted) expect(new URL(key, "file:///root/").pathname).toBe(`/root/${key}`);
      }),
      { numRuns: 2000 },
    );
  });

  test("shows an excerpt of a long key, not all of it", () => {
    expect(() => checkKey("A".repeat(10_000))).toThrow(/^.{1,200}$/);
  });
});

describe("checkPrefix()", () => {
  test("accepts nothing and whole folders", () => {
    for (const prefix of ["", "a/", "a/b-c/"]) expect(checkPrefix(prefix)).toBeUndefined();
  });
});
