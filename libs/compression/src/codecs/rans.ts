/**
 * Entropy coding of symbols by static models: range asymmetric numeral systems (rANS).
 *
 * Symbols are bytes in rows `[n, D]`; those of one column and head share a *context*, and a
 * context names its model. A model is 256 counts that sum to 2^11, made of stored bytes. The
 * state holds 16 to 32 bits; encoding runs from the last symbol to the first and pushes 16-bit
 * words, decoding runs forward, three table look-ups and one multiplication a symbol: several
 * times faster in JavaScript than a range coder, whose length it has (within a word, and what
 * rounding the counts costs). Even and odd columns have a state each, so that a processor
 * works on two symbols at once.
 *
 * Jarek Duda, arXiv:1311.2540.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";

const MODEL_BITS = 11;
const MODEL_TOTAL = 1 << MODEL_BITS;
/** Least state between symbols, and where both ends start. */
const LOW = 1 << 16;
export const SYMBOLS = 256;

/** Which model codes which symbol of rows `[n, D]`, those of head k from `offset[k]` to `offset[k + 1]`. */
export interface Contexts {
  readonly offset: Uint32Array;
  readonly headDim: number;
  /** `[K, D]` index into the models. */
  readonly model_KD: Uint8Array;
}

/** How often each symbol occurs, as the root of its share of the most frequent one's, 255 for that; where none does, symbol 0's. */
export function weightsOf(count: Uint32Array): Uint8Array {
  let max = 0;
  for (let s = 0; s < count.length; s++) if (count[s] > max) max = count[s];
  if (max === 0) return Uint8Array.from(count, (_, s) => (s === 0 ? 255 : 0));
  return Uint8Array.from(count, (n) => (n === 0 ? 0 : Math.max(1, Math.round(255 * Math.sqrt(n / max)))));
}

/** The model `[256]` that stored weights stand for: their squares, scaled to sum to 2^11, none that is not 0 below 1. */
export function modelOf(weight: Uint8Array): Uint16Array {
  let sum = 0;
  for (let s = 0; s < weight.length; s++) sum += weight[s] * weight[s];
  if (sum === 0) throw corrupt("a model of no symbols");
  const model = new Uint16Array(SYMBOLS);
  let rest = MODEL_TOTAL;
  for (let s = 0; s < weight.length; s++) {
    if (weight[s] > 0) model[s] = Math.max(1, Math.floor((weight[s] * weight[s] * MODEL_TOTAL) / sum));
    rest -= model[s];
  }
  // What rounding left over goes to the frequent symbols, where a part of it weighs least.
  const order = Uint32Array.from(weight.keys()).sort((a, b) => weight[b] - weight[a] || a - b);
  for (let i = 0; rest !== 0; i = (i + 1) % weight.length) {
    const step = Math.sign(rest);
    if (weight[order[i]] === 0 || model[order[i]] + step < 1) continue;
    model[order[i]] += step;
    rest -= step;
  }
  return model;
}

/** `symbol_nD` in their models' code: little-endian 16-bit words, the two last states first. */
export function encodeRans(symbol_nD: Uint8Array, contexts: Contexts, models: readonly Uint16Array[]): Uint8Array {
  const { offset, headDim: D, model_KD } = contexts;
  const start = models.map(startsOf);
  const word = new Uint16Array(symbol_nD.length + 4);
  let at = word.length;
  const state = [LOW, LOW];
  for (let k = offset.length - 2; k >= 0; k--) {
    for (let row = offset[k + 1] - 1; row >= offset[k]; row--) {
      for (let d = D - 1; d >= 0; d--) {
        const m = model_KD[k * D + d];
        const symbol = symbol_nD[row * D + d];
        const count = models[m][symbol];
        let x = state[d & 1];
        if (x >= count * 2 ** (32 - MODEL_BITS)) {
          word[--at] = x & 0xffff;
          x >>>= 16;
        }
        const whole = Math.floor(x / count);
        state[d & 1] = whole * MODEL_TOTAL + (x - whole * count) + start[m][symbol];
      }
    }
  }
  for (const x of state.reverse()) {
    word[--at] = x & 0xffff;
    word[--at] = x >>> 16;
  }
  const used = word.subarray(at);
  return new Uint8Array(used.buffer, used.byteOffset, used.byteLength);
}

/** The inverse of {@link encodeRans} into `out_nD`. Throws CACHE_CORRUPT for what it cannot have written. */
export function decodeRans(code: Uint8Array, contexts: Contexts, models: readonly Uint16Array[], out_nD: Uint8Array): void {
  const { offset, headDim: D, model_KD } = contexts;
  const { symbolAt, shares } = new ModelTables(models);
  if (code.length < 8 || code.length % 2 !== 0) throw corrupt(`${code.length} bytes`);
  // Indexed past the end, an array gives undefined and 0 bits; that too many were read is seen at the end.
  let even = ((code[1] << 24) | (code[0] << 16) | (code[3] << 8) | code[2]) >>> 0;
  let odd = ((code[5] << 24) | (code[4] << 16) | (code[7] << 8) | code[6]) >>> 0;
  let at = 8;
  for (let k = 0, i = 0; k + 1 < offset.length; k++) {
    for (let row = offset[k]; row < offset[k + 1]; row++) {
      let context = k * D;
      for (const end = context + D; context + 1 < end; context += 2, i += 2) {
        const m = model_KD[context] << MODEL_BITS;
        const slot = even & (MODEL_TOTAL - 1);
        const symbol = symbolAt[m + slot];
        const entry = (m >> (MODEL_BITS - 8)) + symbol;
        const share = shares[entry];
        even = ((Math.imul(share >>> 16, even >>> MODEL_BITS) >>> 0) + slot - (share & 0xffff)) >>> 0;
        const m2 = model_KD[context + 1] << MODEL_BITS;
        const slot2 = odd & (MODEL_TOTAL - 1);
        const symbol2 = symbolAt[m2 + slot2];
        const entry2 = (m2 >> (MODEL_BITS - 8)) + symbol2;
        const share2 = shares[entry2];
        odd = ((Math.imul(share2 >>> 16, odd >>> MODEL_BITS) >>> 0) + slot2 - (share2 & 0xffff)) >>> 0;
        if (even < LOW) {
          even = ((even << 16) | (code[at + 1] << 8) | code[at]) >>> 0;
          at += 2;
        }
        if (odd < LOW) {
          odd = ((odd << 16) | (code[at + 1] << 8) | code[at]) >>> 0;
          at += 2;
        }
        out_nD[i] = symbol;
        out_nD[i + 1] = symbol2;
      }
      if (D % 2 === 1) {
        const m = model_KD[context] << MODEL_BITS;
        const slot = even & (MODEL_TOTAL - 1);
        const symbol = symbolAt[m + slot];
        const entry = (m >> (MODEL_BITS - 8)) + symbol;
        const share = shares[entry];
        even = ((Math.imul(share >>> 16, even >>> MODEL_BITS) >>> 0) + slot - (share & 0xffff)) >>> 0;
        if (even < LOW) {
          even = ((even << 16) | (code[at + 1] << 8) | code[at]) >>> 0;
          at += 2;
        }
        out_nD[i++] = symbol;
      }
    }
    if (at > code.length) throw corrupt(`the end at head ${k} of ${offset.length - 1}`);
  }
  if (even !== LOW || odd !== LOW || at !== code.length) throw corrupt(`${code.length - at} bytes after the last symbol`);
}

/** Models as flat tables, one after the other. Throws CACHE_CORRUPT for counts that do not sum to 2^11. */
class ModelTables {
  /** `[model, slot]` */
  readonly symbolAt: Uint8Array;
  /** `[model, symbol]` count, and start in the low half. */
  readonly shares: Uint32Array;

  constructor(models: readonly Uint16Array[]) {
    this.symbolAt = new Uint8Array(models.length * MODEL_TOTAL);
    this.shares = new Uint32Array(models.length * SYMBOLS);
    for (const [m, model] of models.entries()) {
      const start = startsOf(model);
      for (let s = 0; s < SYMBOLS; s++) {
        this.shares[m * SYMBOLS + s] = (model[s] << 16) | start[s];
        this.symbolAt.fill(s, m * MODEL_TOTAL + start[s], m * MODEL_TOTAL + start[s] + model[s]);
      }
    }
  }
}

/** First slot of every symbol. Throws CACHE_CORRUPT unless the counts sum to 2^11. */
function startsOf(model: Uint16Array): Uint16Array {
  const start = new Uint16Array(SYMBOLS);
  let sum = 0;
  for (let s = 0; s < SYMBOLS; s++) {
    start[s] = sum;
    sum += model[s];
  }
  if (sum !== MODEL_TOTAL) throw corrupt(`a model of ${sum} counts, expected ${MODEL_TOTAL}`);
  return start;
}

function corrupt(what: string): KvaultError {
  return new KvaultError("CACHE_CORRUPT", `Cannot decode symbols: found ${what}`);
}
