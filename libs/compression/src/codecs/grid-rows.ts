/**
 * Rows of numbers as small codes on a grid: every value is a whole number of its group's steps.
 *
 *   needed = (max - min) / (2^bits - 1),  step = base · 2^(-e/16), the least that is not below it
 *   zero = round(min / step),  code = round(x / step) - zero,  decoded = (zero + code) · step
 *
 * Rounding (halves up) does not change when a whole number is added, so codes span no more
 * steps than the values do: nothing clips, and no value is off by more than half a step. A
 * byte for the step's logarithm and a small integer for the zero cost a fraction of two
 * halves (quantised-rows.ts), for steps that are 2.2% larger in the mean. `base` is the
 * largest step of the tensor, so steps span a factor of 2^16; a group of smaller values, or
 * one whose zero would be above 2^15 steps, has a step larger than it needs.
 *
 * Groups as in quantised-rows.ts. Logarithms and zeros of a group of tokens are given as
 * differences from what the group before it in its head has in that channel, as integers
 * folded to 0, -1, 1, -2, …: small ones are many (symbol-streams.ts).
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { RowLayout, RowQuantiser } from "./quantised-rows.ts";

/** Rows on a grid. */
export interface GridRows {
  /** `[n, D]` */
  readonly code_nD: Uint8Array;
  /** Folded differences of logarithms, one a group. */
  readonly step: Uint32Array;
  /** Folded differences of zeros, one a group. */
  readonly zero: Uint32Array;
  /** Largest step, an f32. */
  readonly base: number;
}

const MAX_LOG = 255;
/** Zeros stay below this many steps. */
const MAX_ZERO = 2 ** 15;
const MAX_F32 = (2 - 2 ** -23) * 2 ** 127;
/** 2^(-i/16) in full: what a power function makes of it may differ in the last bit. */
const SIXTEENTHS: readonly number[] = [
  1, 0.9576032806985737, 0.9170040432046712, 0.8781260801866497, 0.8408964152537146, 0.8052451659746271, 0.7711054127039705,
  0.7384130729697497, 0.7071067811865475, 0.6771277734684463, 0.6484197773255048, 0.620928906036742, 0.5946035575013605,
  0.5693943173783458, 0.5452538663326288, 0.5221368912137069,
];

/** `source_nD`, all finite, on the least grid that holds it. */
export function toGrid(source_nD: Float32Array, layout: RowLayout, quantiser: RowQuantiser): GridRows {
  const top = 2 ** quantiser.bits - 1;
  const numGroups = countGroups(layout, quantiser);
  const { min, needed } = neededSteps(source_nD, layout, quantiser);
  const base = f32Up(needed.reduce((most, one) => Math.max(most, one), 0));
  const code_nD = new Uint8Array(source_nD.length);
  const step = new Uint32Array(numGroups);
  const zero = new Uint32Array(numGroups);
  const known = new KnownGroups(layout, quantiser);
  for (const group of groupsOf(layout, quantiser)) {
    const { index: g, start, end, stride } = group;
    const log = logOf(needed[g], base);
    const size = sizeOf(log, base);
    const low = size === 0 ? 0 : nearest(min[g] / size);
    // Divisions round, so the largest value may come out a step above the last.
    if (size > 0) for (let i = start; i < end; i += stride) code_nD[i] = Math.min(top, nearest(source_nD[i] / size) - low);
    step[g] = fold(log - known.log(group));
    zero[g] = fold(low - known.zero(group, size));
    known.add(group, log, low, size);
  }
  return { code_nD, step, zero, base };
}

/** The inverse of {@link toGrid}. Throws CACHE_CORRUPT for what it cannot have made. */
export function fromGrid({ code_nD, step, zero, base }: GridRows, layout: RowLayout, quantiser: RowQuantiser): Float32Array {
  if (!(base >= 0 && base < Number.POSITIVE_INFINITY)) throw corrupt(`a largest step of ${base}`);
  const low = new Float64Array(step.length);
  const size = new Float64Array(step.length);
  const known = new KnownGroups(layout, quantiser);
  for (const group of groupsOf(layout, quantiser)) {
    const g = group.index;
    const log = known.log(group) + unfold(step[g]);
    if (log < 0 || log > MAX_LOG) throw corrupt(`step ${log} in group ${g}`);
    size[g] = sizeOf(log, base);
    low[g] = known.zero(group, size[g]) + unfold(zero[g]);
    if (Math.abs(low[g]) > MAX_ZERO || Math.abs(low[g] * size[g]) > MAX_F32) {
      throw corrupt(`zero ${low[g]} of steps of ${size[g]} in group ${g}`);
    }
    known.add(group, log, low[g], size[g]);
  }
  return valuesOf(code_nD, low, size, layout, quantiser);
}

/** Row by row, as they lie in memory. */
function valuesOf(
  code_nD: Uint8Array,
  low: Float64Array,
  size: Float64Array,
  { offset, headDim: D }: RowLayout,
  { along, group }: RowQuantiser,
): Float32Array {
  const out_nD = new Float32Array(code_nD.length);
  if (along === "channels") {
    for (let base = 0, g = 0; base < out_nD.length; base += D) {
      for (let start = base; start < base + D; start += group, g++) {
        const end = Math.min(base + D, start + group);
        const zero = low[g];
        const step = size[g];
        for (let i = start; i < end; i++) out_nD[i] = (zero + code_nD[i]) * step;
      }
    }
    return out_nD;
  }
  for (let k = 0, g = 0; k + 1 < offset.length; k++) {
    for (let start = offset[k]; start < offset[k + 1]; start += group, g += D) {
      const end = Math.min(offset[k + 1], start + group) * D;
      for (let base = start * D; base < end; base += D) {
        for (let d = 0; d < D; d++) out_nD[base + d] = (low[g + d] + code_nD[base + d]) * size[g + d];
      }
    }
  }
  return out_nD;
}

/** Groups of a layout: as many steps and zeros. */
export function countGroups({ offset, headDim: D }: RowLayout, { along, group }: RowQuantiser): number {
  if (along === "channels") return offset[offset.length - 1] * Math.ceil(D / group);
  let count = 0;
  for (let k = 0; k + 1 < offset.length; k++) count += Math.ceil((offset[k + 1] - offset[k]) / group) * D;
  return count;
}

/** Values of one group: `start`, `start + stride`, … below `end`. */
interface Group {
  readonly index: number;
  readonly start: number;
  readonly end: number;
  readonly stride: number;
  /** Which of the groups side by side. */
  readonly column: number;
  readonly isFirstOfHead: boolean;
}

/** Groups in the order of their index. */
function* groupsOf({ offset, headDim: D }: RowLayout, { along, group }: RowQuantiser): Generator<Group> {
  let index = 0;
  for (let k = 0; k + 1 < offset.length; k++) {
    const rows = along === "tokens" ? group : 1;
    for (let row = offset[k]; row < offset[k + 1]; row += rows) {
      const isFirstOfHead = row === offset[k];
      const width = along === "tokens" ? 1 : group;
      for (let d = 0, column = 0; d < D; d += width, column++, index++) {
        const start = row * D + d;
        if (along === "channels") yield { index, start, end: row * D + Math.min(D, d + group), stride: 1, column, isFirstOfHead };
        else yield { index, start, end: Math.min(offset[k + 1], row + group) * D, stride: D, column, isFirstOfHead };
      }
    }
  }
}

/** Least value of every group and the step it needs. */
function neededSteps(
  source_nD: Float32Array,
  layout: RowLayout,
  quantiser: RowQuantiser,
): { readonly min: Float64Array; readonly needed: Float64Array } {
  const top = 2 ** quantiser.bits - 1;
  const min = new Float64Array(countGroups(layout, quantiser));
  const needed = new Float64Array(min.length);
  for (const { index, start, end, stride } of groupsOf(layout, quantiser)) {
    let low = source_nD[start];
    let high = low;
    for (let i = start + stride; i < end; i += stride) {
      const x = source_nD[i];
      if (x < low) low = x;
      else if (x > high) high = x;
    }
    min[index] = low;
    needed[index] = Math.max((high - low) / top, Math.max(Math.abs(low), Math.abs(high)) / MAX_ZERO);
  }
  return { min, needed };
}

/** What is expected of a group: a channel's, what the group of tokens before has; a token's, the logarithm of the head's first. */
class KnownGroups {
  readonly #isAlongTokens: boolean;
  readonly #log: Int32Array;
  readonly #low: Float64Array;
  readonly #size: Float64Array;

  constructor({ headDim: D }: RowLayout, { along, group }: RowQuantiser) {
    this.#isAlongTokens = along === "tokens";
    const columns = this.#isAlongTokens ? D : Math.ceil(D / group);
    this.#log = new Int32Array(columns);
    this.#low = new Float64Array(columns);
    this.#size = new Float64Array(columns);
  }

  log({ column, isFirstOfHead }: Group): number {
    return isFirstOfHead ? 0 : this.#log[column];
  }

  /** The zero in steps of `size`. */
  zero({ column, isFirstOfHead }: Group, size: number): number {
    if (!this.#isAlongTokens || isFirstOfHead || size === 0) return 0;
    return Math.max(-MAX_ZERO, Math.min(MAX_ZERO, nearest((this.#low[column] * this.#size[column]) / size)));
  }

  add({ column, isFirstOfHead }: Group, log: number, low: number, size: number): void {
    if (!this.#isAlongTokens && !isFirstOfHead) return;
    this.#log[column] = log;
    this.#low[column] = low;
    this.#size[column] = size;
  }
}

/** Sixteenths of octaves from `base` down to the least step not below `needed`. */
function logOf(needed: number, base: number): number {
  if (needed === 0) return 0;
  let log = Math.min(MAX_LOG, Math.floor(16 * Math.log2(base / needed)));
  while (log > 0 && sizeOf(log, base) < needed) log--;
  while (log < MAX_LOG && sizeOf(log + 1, base) >= needed) log++;
  return log;
}

function sizeOf(log: number, base: number): number {
  return base * SIXTEENTHS[log & 15] * 2 ** -(log >> 4);
}

/** Nearest whole number, halves up. */
function nearest(x: number): number {
  return Math.floor(x + 0.5);
}

/** 0, -1, 1, -2, … → 0, 1, 2, 3, … */
function fold(x: number): number {
  return x < 0 ? -2 * x - 1 : 2 * x;
}

function unfold(x: number): number {
  return x % 2 === 1 ? -(x + 1) / 2 : x / 2;
}

/** Least f32 not below `x` ≥ 0. */
function f32Up(x: number): number {
  const bits = new Int32Array(1);
  const value = new Float32Array(bits.buffer);
  value[0] = x;
  if (value[0] < x) bits[0]++;
  return value[0];
}

function corrupt(what: string): KvaultError {
  return new KvaultError("CACHE_CORRUPT", `Cannot decode part: found ${what}`);
}
