/**
 * Rows of numbers as small codes in groups with a common scale and zero.
 *
 *   zero = min rounded down to f16,  scale = (max - zero) / (2^bits - 1) rounded up to f16
 *   code = round((x - zero) / scale), half to even,  decoded = zero + scale · code
 *
 * The bounds are rounded outwards before codes are computed, so nothing clips and no value is
 * off by more than half a stored scale. A group of one value that f16 can hold, 0 included,
 * comes back exactly, one of another value to 2^-13 of it. (Rounding the minimum itself, as
 * KIVI's code does, lets the extremes clip.)
 *
 * Groups are runs of `group` channels of one token (`channels`), or runs of `group` tokens of
 * one channel within one head (`tokens`: outlier channels then cost the others nothing). The
 * last group of a run may be shorter. Packing is by row either way (packed-rows.ts).
 *
 * @module
 */
import { alignedView, bytesOf, decodeF16, KvaultError, type NamedTensor, numberFromF16 } from "@kvault/core";
import { roundHalfEven } from "../round-half-even.ts";
import type { TensorPlan } from "./expect-tensors.ts";
import { f16Down, f16Up } from "./half-bounds.ts";
import { type CodeBits, packedRowBytes, packRow, unpackRow } from "./packed-rows.ts";

/** How rows are quantised. */
export interface RowQuantiser {
  readonly bits: CodeBits;
  /** What a group runs along. */
  readonly along: "channels" | "tokens";
  readonly group: number;
}

/** Rows `[n, D]`, those of head k from `offset[k]` to `offset[k + 1]`. */
export interface RowLayout {
  readonly offset: Uint32Array;
  readonly headDim: number;
}

/** Largest error ÷ largest magnitude: half a step of a range of twice that, and the rounding of the bounds. */
export function quantisedError(bits: CodeBits): number {
  return (1 + 2 ** -8) / (2 ** bits - 1);
}

/** Adds `name` U8 `[n, packed row]`, `name.scale` and `name.zero` F16. SPEC_INVALID for what f16 bounds cannot enclose. */
export function putQuantised(
  tensors: Map<string, NamedTensor>,
  name: string,
  source_nD: Float32Array,
  layout: RowLayout,
  quantiser: RowQuantiser,
): void {
  const plan = quantisedPlan(name, layout, quantiser);
  const groups = new GroupBounds(plan[`${name}.scale`].shape);
  const code = new Uint8Array(plan[name].shape[0] * plan[name].shape[1]);
  if (quantiser.along === "channels") encodeAlongChannels(source_nD, layout.headDim, quantiser, groups, code);
  else encodeAlongTokens(source_nD, layout, quantiser, groups, code);
  tensors.set(name, { ...plan[name], data: code });
  tensors.set(`${name}.scale`, { ...plan[`${name}.scale`], data: bytesOf(groups.scale) });
  tensors.set(`${name}.zero`, { ...plan[`${name}.zero`], data: bytesOf(groups.zero) });
}

/** The inverse of {@link putQuantised}, for tensors that were checked against {@link quantisedPlan}. */
export function readQuantised(
  tensors: ReadonlyMap<string, NamedTensor>,
  name: string,
  { offset, headDim: D }: RowLayout,
  { bits, along, group }: RowQuantiser,
): Float32Array {
  const packed = tensors.get(name)!.data;
  const scale = decodeF16(alignedView(tensors.get(`${name}.scale`)!.data, Uint16Array));
  const zero = decodeF16(alignedView(tensors.get(`${name}.zero`)!.data, Uint16Array));
  const rowBytes = packedRowBytes(D, bits);
  const out_nD = new Float32Array(offset[offset.length - 1] * D);
  const code_D = new Uint8Array(D);
  if (along === "channels") {
    for (let base = 0, byte = 0, g = 0; base < out_nD.length; base += D, byte += rowBytes) {
      unpackRow(packed, byte, bits, code_D);
      for (let start = 0; start < D; start += group, g++) {
        const end = Math.min(D, start + group);
        const step = scale[g];
        const low = zero[g];
        for (let d = start; d < end; d++) out_nD[base + d] = low + step * code_D[d];
      }
    }
    return out_nD;
  }
  for (let k = 0, g = 0; k + 1 < offset.length; k++) {
    for (let start = offset[k]; start < offset[k + 1]; start += group, g += D) {
      const end = Math.min(offset[k + 1], start + group);
      for (let row = start; row < end; row++) {
        const base = row * D;
        unpackRow(packed, row * rowBytes, bits, code_D);
        for (let d = 0; d < D; d++) out_nD[base + d] = zero[g + d] + scale[g + d] * code_D[d];
      }
    }
  }
  return out_nD;
}

/** Dtypes and shapes of the three tensors of `name`. */
export function quantisedPlan(name: string, { offset, headDim: D }: RowLayout, { bits, along, group }: RowQuantiser): TensorPlan {
  const numRows = offset[offset.length - 1];
  const groups = along === "channels" ? [numRows, Math.ceil(D / group)] : [countTokenGroups(offset, group), D];
  return {
    [name]: { dtype: "U8", shape: [numRows, packedRowBytes(D, bits)] },
    [`${name}.scale`]: { dtype: "F16", shape: groups },
    [`${name}.zero`]: { dtype: "F16", shape: groups },
  };
}

function countTokenGroups(offset: Uint32Array, group: number): number {
  let count = 0;
  for (let k = 0; k + 1 < offset.length; k++) count += Math.ceil((offset[k + 1] - offset[k]) / group);
  return count;
}

/** Scale and zero of every group, as stored. */
class GroupBounds {
  readonly scale: Uint16Array;
  readonly zero: Uint16Array;

  constructor([rows, columns]: readonly number[]) {
    this.scale = new Uint16Array(rows * columns);
    this.zero = new Uint16Array(rows * columns);
  }

  /** Sets group `g` to enclose `[min, max]` in steps of `1 / top`. */
  enclose(g: number, min: number, max: number, top: number): void {
    const zero = f16Down(min);
    const scale = f16Up(Math.max(0, max - numberFromF16(zero)) / top);
    if ((zero & 0x7fff) >= 0x7c00 || scale >= 0x7c00) {
      throw new KvaultError("SPEC_INVALID", `Cannot quantise values from ${min} to ${max}: largest magnitude is 65504`, {
        details: { found: String(Math.abs(min) > Math.abs(max) ? min : max) },
      });
    }
    this.zero[g] = zero;
    this.scale[g] = scale;
  }
}

function encodeAlongChannels(
  source_nD: Float32Array,
  D: number,
  { bits, group }: RowQuantiser,
  groups: GroupBounds,
  code: Uint8Array,
): void {
  const top = 2 ** bits - 1;
  const rowBytes = packedRowBytes(D, bits);
  const code_D = new Uint8Array(D);
  for (let base = 0, byte = 0, g = 0; base < source_nD.length; base += D, byte += rowBytes) {
    for (let start = 0; start < D; start += group, g++) {
      const end = Math.min(D, start + group);
      let min = source_nD[base + start];
      let max = min;
      for (let d = start + 1; d < end; d++) {
        const x = source_nD[base + d];
        if (x < min) min = x;
        else if (x > max) max = x;
      }
      groups.enclose(g, min, max, top);
      const zero = numberFromF16(groups.zero[g]);
      const scale = numberFromF16(groups.scale[g]);
      for (let d = start; d < end; d++) code_D[d] = scale === 0 ? 0 : roundHalfEven((source_nD[base + d] - zero) / scale);
    }
    packRow(code_D, bits, code, byte);
  }
}

function encodeAlongTokens(
  source_nD: Float32Array,
  { offset, headDim: D }: RowLayout,
  { bits, group }: RowQuantiser,
  groups: GroupBounds,
  code: Uint8Array,
): void {
  const top = 2 ** bits - 1;
  const rowBytes = packedRowBytes(D, bits);
  const code_D = new Uint8Array(D);
  const min_D = new Float32Array(D);
  const max_D = new Float32Array(D);
  const zero_D = new Float64Array(D);
  const scale_D = new Float64Array(D);
  for (let k = 0, g = 0; k + 1 < offset.length; k++) {
    for (let start = offset[k]; start < offset[k + 1]; start += group, g += D) {
      const end = Math.min(offset[k + 1], start + group);
      min_D.fill(Number.POSITIVE_INFINITY);
      max_D.fill(Number.NEGATIVE_INFINITY);
      for (let base = start * D; base < end * D; base += D) {
        for (let d = 0; d < D; d++) {
          const x = source_nD[base + d];
          if (x < min_D[d]) min_D[d] = x;
          if (x > max_D[d]) max_D[d] = x;
        }
      }
      for (let d = 0; d < D; d++) {
        groups.enclose(g + d, min_D[d], max_D[d], top);
        zero_D[d] = numberFromF16(groups.zero[g + d]);
        // A scale of 0 means that all values are the zero: any divisor makes their codes 0.
        scale_D[d] = numberFromF16(groups.scale[g + d]) || 1;
      }
      for (let row = start; row < end; row++) {
        const base = row * D;
        for (let d = 0; d < D; d++) code_D[d] = roundHalfEven((source_nD[base + d] - zero_D[d]) / scale_D[d]);
        packRow(code_D, bits, code, row * rowBytes);
      }
    }
  }
}
