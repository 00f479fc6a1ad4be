/**
 * The halves next to a number: bounds of a quantised group are stored as halves, and must
 * enclose what they bound.
 *
 * @module
 */
import { f16FromNumber, numberFromF16 } from "@kvault/core";

/** Bits of the smallest half not below `value` ≥ 0; infinity (0x7c00) above 65504. */
export function f16Up(value: number): number {
  const half = f16FromNumber(value);
  return numberFromF16(half) < value ? half + 1 : half;
}

/** Bits of the largest half not above `value`; minus infinity (0xfc00) below -65504. */
export function f16Down(value: number): number {
  const half = f16FromNumber(value);
  if (numberFromF16(half) <= value) return half;
  return half & 0x8000 ? half + 1 : half - 1;
}
