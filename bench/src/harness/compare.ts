/**
 * From the samples of two sides to a figure.
 *
 * @module
 */
import { type Figure, median, spreadOf } from "./figure.ts";
import type { Measured } from "./measure.ts";

export interface Comparison extends Pick<Figure, "name" | "summary" | "unit" | "rivalName" | "target" | "details"> {
  /**
   * `faster` is better when the unit is a rate; for times and sizes the ratio is turned round. `cost` is ours as a share of the rival.
   */
  readonly ratioOf: "rates" | "times" | "cost";
  readonly ours: Measured;
  readonly rival: Measured;
}

export function compare({ ratioOf, ours, rival, ...rest }: Comparison): Figure {
  const [a, b] = [median(ours.values), median(rival.values)];
  return {
    ...rest,
    ours: a,
    rival: b,
    kind: ratioOf === "cost" ? "cost" : "gain",
    ratio: ratioOf === "times" ? b / a : a / b,
    spread: { ours: spreadOf(ours.values), rival: spreadOf(rival.values) },
    samples: { ours: ours.values.length, rival: rival.values.length },
    othersCores: Math.max(ours.othersCores, rival.othersCores),
  };
}

/** Something counted, not timed. */
export function exactly(value: number): Measured {
  return { values: [value], othersCores: 0 };
}

/** Every sample through `convert`. */
export function mapped({ values, othersCores }: Measured, convert: (value: number) => number): Measured {
  return { values: values.map(convert), othersCores };
}
