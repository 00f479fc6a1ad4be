import { describe, expect, test } from "vitest";
import { ratiosPlot } from "./bench-plot.ts";
import type { BenchResult } from "./bench-results.ts";

const environment = { cpu: "", cores: 2, vectorUnits: [], node: "", onnxRuntime: "", nodeLlamaCpp: "", threads: 2 };
const result: BenchResult = {
  ...{ name: "prefill_4k", summary: "reading", unit: "tokens/s", ours: 2, rival: 1, rivalName: "a rival", kind: "gain" },
  ...{ ratio: 4, target: 2, othersCores: 0, environment },
};

describe("ratiosPlot", () => {
  test("tells what reached its aim from what did not", () => {
    const plot = ratiosPlot([result, { ...result, name: "decode_1q", target: 8 }]);
    expect(plot.match(/class="reached"/g)).toHaveLength(1);
    expect(plot.match(/class="missed"/g)).toHaveLength(1);
  });

  test("a smaller cost is a longer bar", () => {
    const widthOf = (ratio: number): number =>
      Number(/width="([\d.]+)" height="14"/.exec(ratiosPlot([{ ...result, kind: "cost", ratio, target: 0.125 }]))?.[1]);
    expect(widthOf(0.125)).toBeGreaterThan(widthOf(0.5));
  });

  test("leaves out figures without an aim", () => {
    const { target: _, ...aimless } = result;
    expect(ratiosPlot([aimless])).not.toContain("prefill_4k");
  });
});
