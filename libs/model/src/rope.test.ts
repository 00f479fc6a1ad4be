import { describe, expect, test } from "vitest";
import { globalLayers, llama3Factors, ropeFrequencies, ropeText, windowOf } from "./rope.ts";

const LLAMA = { ropeTheta: 500_000, headDim: 128 };
const SCALING = { factor: 8, lowFactor: 1, highFactor: 4, originalTokens: 8192 };
const slidingWindow = { tokens: 512, globalLayers: [5, 11], ropeTheta: 10_000 };

describe("ropeFrequencies()", () => {
  test("is theta^(-2i/D)", () => {
    const frequencies = ropeFrequencies({ ropeTheta: 10_000, headDim: 4 }, 0);
    expect([...frequencies]).toEqual([1, 0.01]);
  });

  test("scales as Llama 3.1 does: fast pairs stay, slow ones turn eight times slower, between them smoothly", () => {
    const scaled = ropeFrequencies({ ...LLAMA, ropeFactors: llama3Factors(LLAMA, SCALING) }, 0);
    expect(scaled[28]).toBeCloseTo(0.00321145, 8);
    expect(scaled[32]).toBeCloseTo(0.00052485, 8);
    expect(scaled[36]).toBeCloseTo(0.000077847, 9);
    const plain = ropeFrequencies(LLAMA, 0);
    expect(plain[32]).toBeCloseTo(0.00141421, 8);
    expect(plain[36]).toBeCloseTo(0.00062277, 8);
    expect(scaled[28]).toBe(plain[28]);
    expect(scaled[63]).toBe((plain[63] as number) / 8);
  });

  test("gives windowed layers their own base and no factors", () => {
    const config = { ropeTheta: 1e6, headDim: 4, ropeFactors: [8, 8], slidingWindow };
    expect([...ropeFrequencies(config, 0)]).toEqual([1, 0.01]);
    expect([...ropeFrequencies(config, 5)]).toEqual([1 / 8, 0.001 / 8]);
  });
});

describe("windowOf() and globalLayers()", () => {
  test("tell windowed layers from those that see everything", () => {
    expect([4, 5, 6].map((layer) => windowOf({ slidingWindow }, layer))).toEqual([512, undefined, 512]);
    expect(globalLayers({ numLayers: 12, slidingWindow })).toEqual([5, 11]);
    expect(globalLayers({ numLayers: 3 })).toEqual([0, 1, 2]);
    expect(windowOf({}, 0)).toBeUndefined();
  });
});

describe("ropeText()", () => {
  test("writes numbers one way only", () => {
    expect(ropeText({ ropeTheta: 1e6, headDim: 64 })).toBe("rope(theta=1000000,dim=64)");
  });

  test("carries scaling and windows", () => {
    expect(ropeText({ ropeTheta: 1e6, headDim: 4, ropeFactors: [8, 8] })).toBe("rope(theta=1000000,dim=4,factor=8)");
    expect(ropeText({ ropeTheta: 1e6, headDim: 4, slidingWindow })).toBe(
      "rope(theta=1000000,dim=4) window(tokens=512,theta=10000,except=5+11)",
    );
    const llama = (factor: number): string => ropeText({ ...LLAMA, ropeFactors: llama3Factors(LLAMA, { ...SCALING, factor }) });
    expect(llama(8)).toMatch(/^rope\(theta=500000,dim=128,factors=[0-9a-f]{16}\)$/);
    expect(llama(8)).not.toBe(llama(32));
  });
});
