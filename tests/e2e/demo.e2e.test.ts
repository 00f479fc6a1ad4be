import { describeRun, type RunReport } from "@kvault/cli";
import { expect, test } from "vitest";
import { kvault } from "./support/kvault.ts";
import { expectTranscript } from "./support/transcript.ts";

test("kvault demo: eight of eight right at 30%, ten times sooner than reading again, one JSON object", async () => {
  const { code, json, stderr } = await kvault(["demo", "--json"]);
  expect(stderr).not.toContain("error:");
  const report = json as RunReport;
  expect(Object.keys(report)).toEqual([
    "model",
    "spec",
    "contextTokens",
    "keepRatio",
    "keptPairs",
    "totalPairs",
    "rawBytesF16",
    "storedBytes",
    "prefillSeconds",
    "scoreSeconds",
    "compressSeconds",
    "publishSeconds",
    "reprefillTtftMs",
    "questions",
  ]);
  expect(report).toMatchObject({ model: "qwen2.5-coder-0.5b", spec: expect.stringContaining("top-k(keep=0.3)"), keepRatio: 0.3 });
  expect(report.contextTokens).toBeGreaterThanOrEqual(1600);
  expect(report.keptPairs / report.totalPairs).toBeLessThan(0.32);
  expect(report.storedBytes).toBeLessThan(report.rawBytesF16 * 0.34);
  expect(report.questions.map((question) => question.correct)).toEqual(Array.from({ length: 8 }, () => true));
  const ttftMs = report.questions.map((question) => question.ttftMs).sort((a, b) => a - b);
  const median = ttftMs[Math.floor(ttftMs.length / 2)] as number;
  expect(report.reprefillTtftMs / median).toBeGreaterThan(10);
  expect(code).toBe(0);
  expectTranscript("README.md", "demo", `$ kvault demo\n${describeRun(report)}`, (text) =>
    text
      .replace(/\d[\d.,]*( (ms|s)\b)?/g, "#")
      // Loaded before it was announced, or, on a busy machine, by the first question.
      .replace(/\b(memory|store)$/gm, "<tier>")
      .replace(/ +/g, " "),
  );
});
