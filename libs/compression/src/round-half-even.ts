/** Above 2^52 a double has no fraction: adding and taking it off again leaves `x` rounded by the hardware, ties to even. */
const NO_FRACTION = 2 ** 52;

/** Nearest integer of `x` in [0, 2^52), ties to even, as torch and numpy round (`Math.round` rounds halves up). */
export function roundHalfEven(x: number): number {
  return x + NO_FRACTION - NO_FRACTION;
}
