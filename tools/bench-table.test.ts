import { describe, expect, test } from "vitest";
import { benchTable } from "./bench-table.ts";

const environment = {
  cpu: "A Processor",
  cores: 2,
  vectorUnits: ["avx2"],
  node: "v20",
  onnxRuntime: "1",
  nodeLlamaCpp: "3",
  threads: 2,
};
const result = {
  name: "prefill_4k",
  summary: "reading",
  unit: "tokens/s",
  ours: 1234.5,
  rival: 617.25,
  rivalName: "a rival | with a bar",
  kind: "gain",
  ratio: 2,
  target: 2,
  othersCores: 0.02,
  environment,
} as const;

describe("benchTable", () => {
  test("says both sides, the ratio and what was aimed at", () => {
    expect(benchTable([result]).split("\n")[2]).toBe(
      "| `prefill_4k` | reading | 1,235 tokens/s | 617 tokens/s, a rival \\| with a bar | **2.00** × | ≥ 2.00 |  |",
    );
  });

  test("tells when others used the machine meanwhile", () => {
    expect(benchTable([{ ...result, othersCores: 0.83 }])).toContain("| 0.8 cores |");
  });

  test("names the machine once", () => {
    expect(benchTable([result, result]).match(/A Processor/g)).toHaveLength(1);
  });
});
