/**
 * Which tokens a layer sees and how fast its pairs rotate.
 *
 * Pair i of a head turns by `position · θ^(−2i/D) / factor_i`. Llama 3.1 stretches the slow pairs:
 * with wavelength λ = 2π / frequency, factor 1 below `original / high`, `factor` above
 * `original / low`, and in between `1 / ((1 − s) / factor + s)` with
 * `s = (original / λ − low) / (high − low)`.
 *
 * @module
 */
import { sha256Hex } from "@kvault/core";
import type { ModelConfig } from "./types.ts";

type Rotation = Pick<ModelConfig, "ropeTheta" | "headDim" | "ropeFactors" | "slidingWindow">;

/** Tokens that a token of `layer` sees, itself included; undefined: all. */
export function windowOf({ slidingWindow }: Pick<ModelConfig, "slidingWindow">, layer: number): number | undefined {
  return slidingWindow === undefined || slidingWindow.globalLayers.includes(layer) ? undefined : slidingWindow.tokens;
}

/** The layers that see everything, ascending: the ones that are scored and evicted. */
export function globalLayers({ numLayers, slidingWindow }: Pick<ModelConfig, "numLayers" | "slidingWindow">): readonly number[] {
  return slidingWindow?.globalLayers ?? Array.from({ length: numLayers }, (_, layer) => layer);
}

/** `[headDim / 2]` radians per position of each rotated pair of `layer`. */
export function ropeFrequencies(config: Rotation, layer: number): Float64Array {
  const isWindowed = windowOf(config, layer) !== undefined;
  const { headDim, slidingWindow, ropeFactors } = config;
  const theta = isWindowed ? (slidingWindow?.ropeTheta as number) : config.ropeTheta;
  return Float64Array.from({ length: headDim / 2 }, (_, i) => {
    const factor = isWindowed ? 1 : (ropeFactors?.[i] ?? 1);
    return theta ** ((-2 * i) / headDim) / factor;
  });
}

export interface Llama3Scaling {
  readonly factor: number;
  readonly lowFactor: number;
  readonly highFactor: number;
  /** Context of the first training, tokens. */
  readonly originalTokens: number;
}

/** `[headDim / 2]` factors of Llama 3's scaling. */
export function llama3Factors(
  { ropeTheta, headDim }: Pick<ModelConfig, "ropeTheta" | "headDim">,
  { factor, lowFactor, highFactor, originalTokens }: Llama3Scaling,
): number[] {
  return Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * ropeTheta ** ((2 * i) / headDim);
    if (wavelength < originalTokens / highFactor) return 1;
    if (wavelength > originalTokens / lowFactor) return factor;
    const smooth = (originalTokens / wavelength - lowFactor) / (highFactor - lowFactor);
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

/** Canonical text of a model's rotation and windows, as it stands in {@link ModelIdentity}. */
export function ropeText(config: Rotation): string {
  const { ropeTheta, headDim, ropeFactors, slidingWindow } = config;
  const parts = [`theta=${ropeTheta}`, `dim=${headDim}`];
  if (ropeFactors !== undefined) parts.push(factorsText(ropeFactors));
  const rope = `rope(${parts.join(",")})`;
  if (slidingWindow === undefined) return rope;
  const { tokens, globalLayers: global, ropeTheta: theta } = slidingWindow;
  return `${rope} window(tokens=${tokens},theta=${theta},except=${global.join("+")})`;
}

function factorsText(factors: readonly number[]): string {
  if (factors.every((factor) => factor === factors[0])) return `factor=${factors[0]}`;
  return `factors=${sha256Hex(JSON.stringify(factors)).slice(0, 16)}`;
}
