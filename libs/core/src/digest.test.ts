import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { digestFields, sha256Hex } from "./digest.ts";

// Computed with CPython's hashlib and struct.
const GOLDEN: [string, [string, string | Uint8Array][], string][] = [
  ["d", [], "8dc05452fade6a05b33f761f0211a29d3d3038af4a013b31c339b67d5062a2f1"],
  [
    "d",
    [
      ["a", "1"],
      ["b", Uint8Array.of(0, 255)],
    ],
    "06a7e54a55b0bc878aced1ff90c3961b143748887b4f675c8de36418a5c43d5a",
  ],
  ["kvault.test/1", [["text", "né 漢 😀"]], "ed29c5f6585180d7bd165f7e5a51174d780816a1f52666feb93850a91e604feb"],
];

const text = fc.string({ unit: "grapheme", maxLength: 8 });
const fields = fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 6 });

describe("digestFields()", () => {
  test.each(GOLDEN)("has the golden digest of %s %j", (domain, list, digest) => {
    expect(digestFields(domain, list)).toBe(digest);
  });

  test("changes with any one name, value or the domain", () => {
    fc.assert(
      fc.property(fields, fc.nat(), fc.nat(1), text, (list, at, side, replacement) => {
        const index = at % list.length;
        const changed = list.map((field) => [...field] as [string, string]);
        const field = changed[index] as [string, string];
        fc.pre(field[side] !== replacement);
        field[side] = replacement;
        expect(digestFields("d", changed)).not.toBe(digestFields("d", list));
        expect(digestFields("e", list)).not.toBe(digestFields("d", list));
      }),
    );
  });

  test("changes with order, grouping and number of fields", () => {
    const digests = [
      digestFields("d", [["ab", "c"]]),
      digestFields("d", [["a", "bc"]]),
      digestFields("d", [["c", "ab"]]),
      digestFields("d", [["", "abc"]]),
      digestFields("d", [
        ["a", "b"],
        ["c", ""],
      ]),
      digestFields("dabc", []),
    ];
    expect(new Set(digests).size).toBe(digests.length);
  });

  test("takes a string as its UTF-8 bytes", () => {
    expect(digestFields("d", [["a", "é"]])).toBe(digestFields("d", [["a", Uint8Array.of(0xc3, 0xa9)]]));
  });

  test("refuses text that UTF-8 cannot tell apart", () => {
    for (const lone of ["\ud800", "a\udc00b"]) expect(() => digestFields("d", [["a", lone]])).toThrow(RangeError);
  });
});

describe("sha256Hex()", () => {
  test("has the published digest of abc", () => {
    const digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    expect(sha256Hex("abc")).toBe(digest);
    expect(sha256Hex(Uint8Array.of(97, 98, 99))).toBe(digest);
  });
});
