import { createRng } from "@kvault/core";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Contexts, decodeRans, encodeRans, modelOf, weightsOf } from "./rans.ts";

/** One context for all symbols, and its model. */
function alone(symbols: Uint8Array): { contexts: Contexts; models: Uint16Array[] } {
  const contexts = { offset: Uint32Array.of(0, symbols.length), headDim: 1, model_KD: new Uint8Array(1) };
  return { contexts, models: [modelOf(weightsOf(countsOf(symbols)))] };
}

function countsOf(symbols: Uint8Array): Uint32Array {
  const count = new Uint32Array(256);
  for (const symbol of symbols) count[symbol]++;
  return count;
}

function encoded(symbols: Uint8Array): Uint8Array {
  const { contexts, models } = alone(symbols);
  return encodeRans(symbols, contexts, models);
}

/** `code` read as `length` symbols by the model of `symbols`. */
function decoded(code: Uint8Array, symbols: Uint8Array, length = symbols.length): Uint8Array {
  const out = new Uint8Array(length);
  decodeRans(code, { ...alone(symbols).contexts, offset: Uint32Array.of(0, length) }, alone(symbols).models, out);
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
        expect(modelOf(weightsOf(countsOf(bytes))).reduce((a, b) => a + b)).toBe(2 ** 11);
        expect(decoded(encoded(bytes), bytes)).toEqual(bytes);
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
  const count = countsOf(bytes);
  const bits = count.reduce((sum, n) => (n === 0 ? sum : sum - n * Math.log2(n / bytes.length)), 0);
  const code = encoded(bytes);
  expect(code.byteLength * 8).toBeLessThan(bits * 1.01 + 64);
  expect(code.byteLength * 8).toBeGreaterThan(bits * 0.999);
});

test("each column of each head is read by the model it names", () => {
  const rng = createRng(5);
  const offset = Uint32Array.of(0, 40, 40, 91);
  const model_KD = Uint8Array.of(0, 1, 2, 0, 0, 2);
  const symbol = new Uint8Array(91 * 2);
  // Model m has symbols m and m + 1 only, so another model could not write them.
  for (let k = 0; k < 3; k++) {
    for (let row = offset[k]; row < offset[k + 1]; row++) {
      for (let d = 0; d < 2; d++) symbol[row * 2 + d] = model_KD[k * 2 + d] + (rng.next() < 0.2 ? 1 : 0);
    }
  }
  const models = [0, 1, 2].map((m) =>
    modelOf(weightsOf(Uint32Array.from({ length: 4 }, (_, s) => (s === m ? 4 : s === m + 1 ? 1 : 0)))),
  );
  const contexts = { offset, headDim: 2, model_KD };
  const out = new Uint8Array(symbol.length);
  decodeRans(encodeRans(symbol, contexts, models), contexts, models, out);
  expect(out).toEqual(symbol);
});

test("a model keeps every byte that occurs, however rare", () => {
  const bytes = new Uint8Array(200_000);
  for (let s = 0; s < 256; s++) bytes[s] = s;
  expect(Math.min(...modelOf(weightsOf(countsOf(bytes))))).toBe(1);
  expect(Buffer.compare(decoded(encoded(bytes), bytes), bytes)).toBe(0);
});

test("one byte over and over takes no more than the state", () => {
  const bytes = new Uint8Array(10_000).fill(200);
  const code = encoded(bytes);
  expect(code.byteLength).toBe(8);
  expect(decoded(code, bytes)).toEqual(bytes);
});

test("a cut, a longer or another code and another model are refused", () => {
  const bytes = gaussianSymbols(500);
  const code = encoded(bytes);
  const corrupt = expect.objectContaining({ code: "CACHE_CORRUPT" });
  expect(() => decoded(code.subarray(0, code.length - 2), bytes)).toThrow(corrupt);
  expect(() => decoded(Uint8Array.of(...code, 0, 0), bytes)).toThrow(corrupt);
  expect(() => decoded(new Uint8Array(0), bytes)).toThrow(corrupt);
  expect(() => decoded(code, bytes, 499)).toThrow(corrupt);
  expect(() => decodeRans(code, alone(bytes).contexts, [new Uint16Array(256)], new Uint8Array(500))).toThrow(corrupt);
  expect(() => modelOf(new Uint8Array(256))).toThrow(corrupt);
  const flipped = Uint8Array.from(code);
  flipped[10] ^= 4;
  expect(() => decoded(flipped, bytes)).toThrow(corrupt);
});
