import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createDetokeniser } from "./detokeniser.ts";

/** Token i is the i-th of these byte strings. */
function vocabulary(tokens: readonly Uint8Array[]): { bytesOf(tokenId: number): Uint8Array } {
  return { bytesOf: (tokenId) => tokens[tokenId] ?? new Uint8Array() };
}

/** Cuts `bytes` at the given places. */
function cutAt(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const edges = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [...edges, bytes.length].map((edge, i) => bytes.subarray(i === 0 ? 0 : edges[i - 1], edge));
}

const cuts = fc.array(fc.nat(400), { maxLength: 60 });
const LONE_SURROGATE = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/;

describe("createDetokeniser()", () => {
  test("gives the text back whatever the token boundaries, in whole characters", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 80 }), cuts, (text, places) => {
        const pieces = cutAt(Buffer.from(text, "utf8"), places);
        const detokeniser = createDetokeniser(vocabulary(pieces));
        const deltas = [...pieces.map((_, id) => detokeniser.push(id)), detokeniser.end()];
        expect(deltas.join("")).toBe(text);
        for (const delta of deltas) {
          expect(delta).not.toMatch(LONE_SURROGATE);
          if (!text.includes("\uFFFD")) expect(delta).not.toContain("\uFFFD");
        }
      }),
    );
  });

  test("agrees with decoding all bytes at once, valid or not", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), cuts, (bytes, places) => {
        const pieces = cutAt(bytes, places);
        const detokeniser = createDetokeniser(vocabulary(pieces));
        const text = pieces.map((_, id) => detokeniser.push(id)).join("") + detokeniser.end();
        expect(text).toBe(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
      }),
    );
  });

  test("holds the first three bytes of an emoji and emits it with the fourth", () => {
    const bytes = Buffer.from("😀", "utf8");
    const detokeniser = createDetokeniser(vocabulary([bytes.subarray(0, 1), bytes.subarray(1, 3), bytes.subarray(3)]));
    expect([detokeniser.push(0), detokeniser.push(1), detokeniser.push(2)]).toEqual(["", "", "😀"]);
    expect(detokeniser.end()).toBe("");
  });

  test("replaces an unfinished character only at the end", () => {
    const detokeniser = createDetokeniser(vocabulary([Uint8Array.of(0x41, 0xe2, 0x82)]));
    expect(detokeniser.push(0)).toBe("A");
    expect(detokeniser.end()).toBe("\uFFFD");
  });

  test("keeps a byte order mark, which is text here", () => {
    const detokeniser = createDetokeniser(vocabulary([Buffer.from("\uFEFFa", "utf8")]));
    expect(detokeniser.push(0)).toBe("\uFEFFa");
  });

  test("emits nothing for special tokens", () => {
    expect(createDetokeniser(vocabulary([])).push(7)).toBe("");
  });
});
