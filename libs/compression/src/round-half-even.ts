/** Nearest integer of `x` ≥ 0, ties to even, as IEEE 754, torch and numpy round (`Math.round` rounds halves up). */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}
