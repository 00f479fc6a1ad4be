/**
 * Streams of entropy-coded symbols, one after the other in one run of bytes.
 *
 *   stream = models, symbols - 1, models × symbols weights, (code bytes U32, code)   models 0: nothing was written
 *
 * Weights are those of symbols 0 … symbols - 1 (rans.ts). A stream of integers writes those
 * from 255 on as 255 and, after the stream, as themselves in U32. A stream of rows groups its
 * columns (context-models.ts) and has, before it, the stream of the columns' groups.
 *
 * A code that would be longer than with all symbols alike is written with all symbols alike,
 * so there is a ceiling. A reader knows how many symbols to expect and trusts nothing else.
 *
 * @module
 */
import { bytesOf, KvaultError } from "@kvault/core";
import { groupContexts } from "./context-models.ts";
import type { CodeBits } from "./packed-rows.ts";
import type { RowLayout } from "./quantised-rows.ts";
import { type Contexts, decodeRans, encodeRans, modelOf, SYMBOLS, weightsOf } from "./rans.ts";

/** Integers from here on are written in full. */
const WIDE = SYMBOLS - 1;
const MAX_GROUPS = 16;
/** A group must have this many symbols for each weight of its table. */
const SYMBOLS_A_WEIGHT = 384;

/** Collects streams. */
export class StreamWriter {
  readonly #chunks: Uint8Array[] = [];

  /** The streams so far. */
  bytes(): Uint8Array {
    let length = 0;
    for (const chunk of this.#chunks) length += chunk.length;
    const all = new Uint8Array(length);
    let at = 0;
    for (const chunk of this.#chunks) {
      all.set(chunk, at);
      at += chunk.length;
    }
    return all;
  }

  /** Integers that are mostly small. */
  putIntegers(value: Uint32Array): void {
    const symbol = Uint8Array.from(value, (x) => Math.min(x, WIDE));
    this.#putStream(symbol, oneContext(value.length), [countsOf(symbol)]);
    const wide = value.filter((x) => x >= WIDE);
    if (wide.length > 0) this.#chunks.push(bytesOf(wide));
  }

  /** Codes `[n, D]` of `bits` bits. */
  putRows(code_nD: Uint8Array, { offset, headDim: D }: RowLayout, bits: CodeBits): void {
    const count = columnCounts(code_nD, offset, D, 2 ** bits);
    const affordable = Math.floor(code_nD.length / (2 ** bits * SYMBOLS_A_WEIGHT));
    const { group, summed } = groupContexts(count, Math.max(1, Math.min(MAX_GROUPS, affordable, count.length)));
    this.putIntegers(Uint32Array.from(group));
    this.#putStream(code_nD, { offset, headDim: D, model_KD: group }, summed, 2 ** bits);
  }

  #putStream(symbol: Uint8Array, contexts: Contexts, count: readonly Uint32Array[], alphabet?: number): void {
    if (symbol.length === 0) {
      this.#chunks.push(Uint8Array.of(0));
      return;
    }
    const weights = trimmed(count.map(weightsOf));
    const code = encodeRans(symbol, contexts, weights.map(modelOf));
    if (code.length <= plainBytes(symbol.length, alphabet ?? SYMBOLS)) this.#putCode(weights, code);
    else {
      const alike = count.map(() => new Uint8Array(alphabet ?? SYMBOLS).fill(255));
      this.#putCode(alike, encodeRans(symbol, contexts, alike.map(modelOf)));
    }
  }

  #putCode(weights: readonly Uint8Array[], code: Uint8Array): void {
    this.#chunks.push(
      Uint8Array.of(weights.length, weights[0].length - 1),
      ...weights,
      bytesOf(Uint32Array.of(code.length)),
      code,
    );
  }
}

/** Reads streams in the order in which they were written. Throws CACHE_CORRUPT for what cannot have been. */
export class StreamReader {
  readonly #data: Uint8Array;
  #at = 0;

  constructor(data: Uint8Array) {
    this.#data = data;
  }

  /** `length` integers of {@link StreamWriter.putIntegers}. */
  integers(length: number): Uint32Array {
    const symbol = new Uint8Array(length);
    this.#stream(symbol, oneContext(length));
    const value = Uint32Array.from(symbol);
    for (let i = 0; i < length; i++) if (symbol[i] === WIDE) value[i] = this.#u32();
    return value;
  }

  /** Codes of {@link StreamWriter.putRows}. */
  rows({ offset, headDim: D }: RowLayout, bits: CodeBits): Uint8Array {
    const model_KD = Uint8Array.from(this.integers((offset.length - 1) * D));
    const code_nD = new Uint8Array(offset[offset.length - 1] * D);
    const largest = this.#stream(code_nD, { offset, headDim: D, model_KD });
    if (largest >= 2 ** bits) throw corrupt(`symbol ${largest} in codes of ${bits} bits`);
    return code_nD;
  }

  /** Throws CACHE_CORRUPT unless everything was read. */
  end(): void {
    if (this.#at !== this.#data.length) throw corrupt(`${this.#data.length - this.#at} bytes after the last stream`);
  }

  /** Fills `out`; the largest symbol that its models have. */
  #stream(out: Uint8Array, contexts: Contexts): number {
    const [numModels] = this.#take(1);
    if ((numModels === 0) !== (out.length === 0)) throw corrupt(`${numModels} models for ${out.length} symbols`);
    if (numModels === 0) return 0;
    const symbols = this.#take(1)[0] + 1;
    const models = Array.from({ length: numModels }, () => modelOf(this.#take(symbols)));
    for (const m of contexts.model_KD) if (m >= numModels) throw corrupt(`model ${m} of ${numModels}`);
    decodeRans(this.#take(this.#u32()), contexts, models, out);
    return symbols - 1;
  }

  #u32(): number {
    const [a, b, c, d] = this.#take(4);
    return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
  }

  #take(length: number): Uint8Array {
    if (this.#at + length > this.#data.length) throw corrupt(`the end, ${length} bytes expected at ${this.#at}`);
    this.#at += length;
    return this.#data.subarray(this.#at - length, this.#at);
  }
}

/** No stream of integers is longer. */
export function integersCeiling(length: number): number {
  return 2 + SYMBOLS + 4 + plainBytes(length, SYMBOLS) + 4 * length;
}

/** No stream of rows, its groups included, is longer. */
export function rowsCeiling({ offset, headDim: D }: RowLayout, bits: CodeBits): number {
  const groups = integersCeiling((offset.length - 1) * D);
  return groups + 2 + MAX_GROUPS * 2 ** bits + 4 + plainBytes(offset[offset.length - 1] * D, 2 ** bits);
}

/**
 * Bytes of `length` symbols when all 2^b of them are alike: b bits each, and the little by which
 * a state of 16 bits and more rounds, at most `log2(1 + 2^(11 - b) / 2^16)`.
 */
function plainBytes(length: number, alphabet: number): number {
  const bits = Math.log2(alphabet) + Math.log2(1 + 1 / (32 * alphabet));
  return Math.ceil((length * bits) / 8) + 10;
}

function oneContext(length: number): Contexts {
  return { offset: Uint32Array.of(0, length), headDim: 1, model_KD: new Uint8Array(1) };
}

function countsOf(symbol: Uint8Array): Uint32Array {
  const count = new Uint32Array(SYMBOLS);
  for (let i = 0; i < symbol.length; i++) count[symbol[i]]++;
  return count;
}

/** How often each code occurs in each column of each head. */
function columnCounts(code_nD: Uint8Array, offset: Uint32Array, D: number, alphabet: number): Uint32Array[] {
  const numHeads = offset.length - 1;
  const count = Array.from({ length: numHeads * D }, () => new Uint32Array(alphabet));
  for (let k = 0; k < numHeads; k++) {
    for (let row = offset[k]; row < offset[k + 1]; row++) {
      for (let d = 0; d < D; d++) count[k * D + d][code_nD[row * D + d]]++;
    }
  }
  return count;
}

/** Weights up to the last symbol that any model has. */
function trimmed(weights: readonly Uint8Array[]): Uint8Array[] {
  let symbols = 0;
  for (const weight of weights) symbols = Math.max(symbols, weight.findLastIndex((w) => w > 0) + 1);
  return weights.map((weight) => weight.subarray(0, symbols));
}

function corrupt(what: string): KvaultError {
  return new KvaultError("CACHE_CORRUPT", `Cannot decode symbols: found ${what}`);
}
