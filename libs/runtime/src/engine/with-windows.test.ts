import type { Selection } from "@kvault/compression";
import type { ModelConfig } from "@kvault/model";
import { describe, expect, test } from "vitest";
import { TOY_CONFIG } from "../testing/toy-runner.ts";
import { withWindows } from "./with-windows.ts";

/** Layer 1 of two sees everything; layer 0 the latest two positions. */
const config: ModelConfig = {
  ...TOY_CONFIG,
  numLayers: 2,
  numKvHeads: 1,
  slidingWindow: { tokens: 2, globalLayers: [1], ropeTheta: 10_000 },
};

const selection: Selection = {
  ...{ numLayers: 1, numKvHeads: 1, headDim: config.headDim, seqLen: 5, prefixTokens: 1 },
  offset_LK: Uint32Array.of(0, 3),
  position_n: Uint32Array.of(0, 2, 3),
  score_n: Float32Array.of(4, 1, 3),
};

describe("withWindows()", () => {
  test("gives windowed layers their latest positions and global layers what was selected", () => {
    const { numLayers, offset_LK, position_n } = withWindows(config, selection);
    expect(numLayers).toBe(2);
    expect([...offset_LK]).toEqual([0, 2, 5]);
    expect([...position_n]).toEqual([3, 4, 0, 2, 3]);
  });

  test("moves scores with their pairs, windowed ones above all", () => {
    expect([...(withWindows(config, selection).score_n ?? [])]).toEqual([5, 5, 4, 1, 3]);
  });

  test("names the layers that others read by their place in the model", () => {
    const two = { ...config, numLayers: 4, slidingWindow: { ...config.slidingWindow!, globalLayers: [1, 3] } };
    const rows = { numLayers: 2, offset_LK: Uint32Array.of(0, 3, 6), position_n: Uint32Array.of(0, 2, 3, 0, 2, 3) };
    const { score_n: _, ...plain } = { ...selection, ...rows };
    expect(withWindows(two, { ...plain, source_L: Uint32Array.of(0, 0) }).source_L).toEqual(Uint32Array.of(0, 1, 2, 1));
    expect(withWindows(two, plain).source_L).toBeUndefined();
  });

  test("leaves a model without windows alone", () => {
    expect(withWindows(TOY_CONFIG, selection)).toBe(selection);
  });
});
