/**
 * Taking samples of several sides in turns, A B A B, so that a machine that grows slower or
 * busier meanwhile does so for all of them.
 *
 * @module
 */
import { startLoadMeter } from "./load-meter.ts";

export interface Side {
  /** One sample: a number in the figure's unit. */
  readonly sample: () => Promise<number>;
  readonly samples: number;
  /** Runs before the first sample that are not counted. */
  readonly warmUps: number;
}

export interface Measured {
  readonly values: readonly number[];
  readonly othersCores: number;
}

/** A short sample is taken again when others used more than this of the machine, at most this often. */
const QUIET_CORES = 0.15;
const MAX_TRIES = 3;
const SHORT_MS = 10_000;

/** Samples of every side, by name. A side with fewer samples than others sits out the last rounds. */
export async function measure<Name extends string>(sides: Readonly<Record<Name, Side>>): Promise<Record<Name, Measured>> {
  const names = Object.keys(sides) as Name[];
  const values = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<Name, number[]>;
  const loads = Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>;
  for (const name of names) for (let run = 0; run < sides[name].warmUps; run++) await sides[name].sample();
  const rounds = Math.max(...names.map((name) => sides[name].samples));
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      if (round >= sides[name].samples) continue;
      const { value, othersCores } = await quietestSample(sides[name].sample);
      values[name].push(value);
      loads[name] = Math.max(loads[name], othersCores);
    }
  }
  const measured = names.map((name): [Name, Measured] => [name, { values: values[name], othersCores: loads[name] }]);
  return Object.fromEntries(measured) as Record<Name, Measured>;
}

async function quietestSample(sample: () => Promise<number>): Promise<{ value: number; othersCores: number }> {
  let best: { value: number; othersCores: number } | undefined;
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    const meter = startLoadMeter();
    const startMs = performance.now();
    const value = await sample();
    const othersCores = meter.othersCores();
    if (best === undefined || othersCores < best.othersCores) best = { value, othersCores };
    if (othersCores <= QUIET_CORES || performance.now() - startMs > SHORT_MS) break;
  }
  return best as { value: number; othersCores: number };
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now();
  await work();
  return performance.now() - startMs;
}
