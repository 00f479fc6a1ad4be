import { alignedView, createRng } from "@kvault/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeRans, encodeRans, modelOf, weightsOf } from "./rans.ts";

const wordsOf = (bytes: Uint8Array): Uint16Array => alignedView(bytes, Uint16Array);

function decoded(code: Uint8Array, model: Uint16Array, length: number): Uint8Array {
  const out = new Uint8Array(length);
  decodeRans(wordsOf(code), model, out);
  return out;
}

test("any bytes come back", () => {
  const skewed = fc.array(fc.oneof(fc.constant(7), fc.integer({ min: 0, max: 255 })), { minLength: 1, maxLength: 400 });
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ minLength: 1, maxLength: 400 }),
        skewed.map((list) => Uint8Array.from(list)),
      ),
      (bytes) => {
        const model = modelOf(weightsOf(bytes));
        expect(model.reduce((a, b) => a + b)).toBe(2 ** 14);
        expect(decoded(encodeRans(bytes, model), model, bytes.length)).toEqual(bytes);
      },
    ),
    { numRuns: 300 },
  );
});

/** Sum of twelve uniforms, clipped to 15 levels. */
function gaussianSymbols(count: number): Uint8Array {
  const rng = createRng(77);
  return Uint8Array.from({ length: count }, () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += rng.next();
    return Math.min(14, Math.max(0, Math.round(sum * 2) + 7));
  });
}

test("the length is the entropy, within a hundredth", () => {
  const bytes = gaussianSymbols(200_000);
  const count = new Array<number>(256).fill(0);
  for (const symbol of bytes) count[symbol]++;
  const bits = count.reduce((sum, n) => (n === 0 ? sum : sum - n * Math.log2(n / bytes.length)), 0);
  const code = encodeRans(bytes, modelOf(weightsOf(bytes)));
  expect(code.byteLength * 8).toBeLessThan(bits * 1.01 + 64);
  expect(code.byteLength * 8).toBeGreaterThan(bits * 0.999);
});

test("a model keeps every byte that occurs, however rare", () => {
  const bytes = new Uint8Array(200_000);
  for (let s = 0; s < 256; s++) bytes[s] = s;
  const model = modelOf(weightsOf(bytes));
  expect(Math.min(...model)).toBe(1);
  expect(Buffer.compare(decoded(encodeRans(bytes, model), model, bytes.length), bytes)).toBe(0);
});

test("one byte over and over takes no more than the state", () => {
  const bytes = new Uint8Array(10_000).fill(200);
  const code = encodeRans(bytes, modelOf(weightsOf(bytes)));
  expect(code.byteLength).toBe(4);
  expect(decoded(code, modelOf(weightsOf(bytes)), 10_000)).toEqual(bytes);
});

test("a cut, a longer or another code and another model are refused", () => {
  const bytes = gaussianSymbols(500);
  const model = modelOf(weightsOf(bytes));
  const code = encodeRans(bytes, model);
  const corrupt = expect.objectContaining({ code: "CACHE_CORRUPT" });
  expect(() => decoded(code.subarray(0, code.length - 2), model, 500)).toThrow(corrupt);
  expect(() => decoded(Uint8Array.of(...code, 0, 0), model, 500)).toThrow(corrupt);
  expect(() => decoded(new Uint8Array(0), model, 500)).toThrow(corrupt);
  expect(() => decoded(code, model, 499)).toThrow(corrupt);
  expect(() => decoded(code, new Uint16Array(256), 500)).toThrow(corrupt);
  expect(() => modelOf(new Uint8Array(256))).toThrow(corrupt);
  const flipped = Uint8Array.from(code);
  flipped[10] ^= 4;
  expect(() => decoded(flipped, model, 500)).toThrow(corrupt);
});
