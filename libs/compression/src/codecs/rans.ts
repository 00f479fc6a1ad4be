/**
 * Entropy coding of bytes by a static model: range asymmetric numeral systems (rANS).
 *
 * A model is 256 counts that sum to 2^14, made of 256 stored bytes. The state holds 16 to 32 bits; encoding runs from the
 * last byte to the first and pushes 16-bit words, decoding runs forward, one table look-up and
 * one multiplication a byte: several times faster in JavaScript than a range coder, whose
 * length it has (within a word, and what rounding the counts costs).
 *
 * Jarek Duda, arXiv:1311.2540.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";

const MODEL_BITS = 14;
const MODEL_TOTAL = 1 << MODEL_BITS;
/** Least state between symbols, and where both ends start. */
const LOW = 1 << 16;
const SYMBOLS = 256;

/** How often each byte occurs in `bytes`, as the root of its share of the most frequent one's, 255 for that: `[256]`. */
export function weightsOf(bytes: Uint8Array): Uint8Array {
  const count = new Float64Array(SYMBOLS);
  for (let i = 0; i < bytes.length; i++) count[bytes[i]]++;
  let max = 1;
  for (let s = 0; s < SYMBOLS; s++) if (count[s] > max) max = count[s];
  return Uint8Array.from(count, (n) => (n === 0 ? 0 : Math.max(1, Math.round(255 * Math.sqrt(n / max)))));
}

/** The model that stored weights stand for: their squares, scaled to sum to 2^14, none that is not 0 below 1. */
export function modelOf(weight: Uint8Array): Uint16Array {
  let sum = 0;
  for (let s = 0; s < SYMBOLS; s++) sum += weight[s] * weight[s];
  if (sum === 0) throw corrupt("a model of no bytes");
  const model = new Uint16Array(SYMBOLS);
  let rest = MODEL_TOTAL;
  for (let s = 0; s < SYMBOLS; s++) {
    if (weight[s] > 0) model[s] = Math.max(1, Math.floor((weight[s] * weight[s] * MODEL_TOTAL) / sum));
    rest -= model[s];
  }
  // What rounding left over goes to the frequent symbols, where a part of it weighs least.
  const order = Uint32Array.from(weight.keys()).sort((a, b) => weight[b] - weight[a] || a - b);
  for (let i = 0; rest !== 0; i = (i + 1) % SYMBOLS) {
    const step = Math.sign(rest);
    if (weight[order[i]] === 0 || model[order[i]] + step < 1) continue;
    model[order[i]] += step;
    rest -= step;
  }
  return model;
}

/** `bytes` in `model`'s code: little-endian 16-bit words. */
export function encodeRans(bytes: Uint8Array, model: Uint16Array): Uint8Array {
  const start = startsOf(model);
  const word = new Uint16Array(bytes.length + 2);
  let at = word.length;
  let state = LOW;
  for (let i = bytes.length - 1; i >= 0; i--) {
    const symbol = bytes[i];
    const count = model[symbol];
    if (state >= count * 2 ** (32 - MODEL_BITS)) {
      word[--at] = state & 0xffff;
      state >>>= 16;
    }
    const whole = Math.floor(state / count);
    state = whole * MODEL_TOTAL + (state - whole * count) + start[symbol];
  }
  word[--at] = state & 0xffff;
  word[--at] = state >>> 16;
  const used = word.subarray(at);
  return new Uint8Array(used.buffer, used.byteOffset, used.byteLength);
}

/** The inverse of {@link encodeRans} into `out`. Throws CACHE_CORRUPT for what it cannot have written. */
export function decodeRans(word: Uint16Array, model: Uint16Array, out: Uint8Array): void {
  const start = startsOf(model);
  const symbolAt = new Uint8Array(MODEL_TOTAL);
  for (let s = 0; s < SYMBOLS; s++) symbolAt.fill(s, start[s], start[s] + model[s]);
  if (word.length < 2) throw corrupt(`${word.length} words`);
  let state = ((word[0] << 16) | word[1]) >>> 0;
  let at = 2;
  for (let i = 0; i < out.length; i++) {
    const slot = state & (MODEL_TOTAL - 1);
    const symbol = symbolAt[slot];
    out[i] = symbol;
    state = ((Math.imul(model[symbol], state >>> MODEL_BITS) >>> 0) + slot - start[symbol]) >>> 0;
    if (state < LOW) {
      if (at === word.length) throw corrupt(`the end at byte ${i} of ${out.length}`);
      state = ((state << 16) | word[at++]) >>> 0;
    }
  }
  if (state !== LOW || at !== word.length) throw corrupt(`${word.length - at} words after the last byte`);
}

/** First slot of every symbol. Throws CACHE_CORRUPT unless the counts sum to 2^14. */
function startsOf(model: Uint16Array): Uint32Array {
  const start = new Uint32Array(SYMBOLS);
  let sum = 0;
  for (let s = 0; s < SYMBOLS; s++) {
    start[s] = sum;
    sum += model[s];
  }
  if (sum !== MODEL_TOTAL) throw corrupt(`a model of ${sum} counts, expected ${MODEL_TOTAL}`);
  return start;
}

function corrupt(what: string): KvaultError {
  return new KvaultError("CACHE_CORRUPT", `Cannot decode bytes: found ${what}`);
}
