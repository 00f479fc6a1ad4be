import { KvaultError } from "@kvault/core";
import { describe, expect, test } from "vitest";
import { describeFailure, EXIT } from "./failure.ts";
import { heatMap, keptTable } from "./heat-map.ts";
import { createLiveLines } from "./live-lines.ts";
import { createProgress } from "./progress.ts";
import { table } from "./table.ts";
import { createTerminal } from "./terminal.ts";
import { formatBytes, formatCount, formatSeconds } from "./units.ts";

function sink(isTTY: boolean) {
  const written: string[] = [];
  return { isTTY, write: (text: string) => written.push(text), text: () => written.join("") };
}

describe("createProgress()", () => {
  test("prints a plain line at the start, every three seconds and at the end, without a terminal", () => {
    const stream = sink(false);
    let now = 0;
    const progress = createProgress(stream, () => now);
    for (; now <= 4000; now += 100) progress.update({ label: "prefill", done: now / 4, total: 1000, unit: "tokens" });
    progress.close();
    progress.close();
    expect(stream.text()).toBe(
      "prefill: 0% 0 of 1,000 tokens\nprefill: 75% 750 of 1,000 tokens 250 tokens/s 1 s left\nprefill: 100% 1,000 of 1,000 tokens 244 tokens/s\n",
    );
  });
  test("redraws one line on a terminal and ends it when the phase changes", () => {
    const stream = sink(true);
    let now = 0;
    const progress = createProgress(stream, () => now);
    progress.update({ label: "prefill", done: 0, total: 8, unit: "layers" });
    now = 100;
    progress.update({ label: "prefill", done: 4, total: 8, unit: "layers" });
    progress.update({ label: "score", done: 1, total: 8, unit: "layers" });
    expect(stream.text()).toContain(`${"█".repeat(14)}${"░".repeat(14)}`);
    expect(stream.text().split("\n")).toHaveLength(2);
  });
  test("shows work of unknown length without a figure", () => {
    for (const isTTY of [true, false]) {
      const stream = sink(isTTY);
      const progress = createProgress(stream, () => 0);
      progress.update({ label: "load", done: 0, total: 0, unit: "layers" });
      progress.close();
      expect(stream.text()).toMatch(/load +…\n$/);
    }
  });
  test("note() leaves the bar behind it", () => {
    const stream = sink(true);
    const progress = createProgress(stream, () => 0);
    progress.update({ label: "prefill", done: 1, total: 2, unit: "tokens" });
    progress.note("done");
    expect(stream.text().endsWith("\ndone\n")).toBe(true);
  });
});

describe("createTerminal()", () => {
  test("keeps stdout for JSON alone with --json", () => {
    const stdout = sink(false);
    const stderr = sink(false);
    const terminal = createTerminal({ stdout, stderr }, true);
    terminal.note("on the way");
    terminal.write("text");
    terminal.result({ a: 1 }, () => "for people");
    expect(stdout.text()).toBe('{"a":1}\n');
    expect(stderr.text()).toBe("on the way\n");
  });
});

describe("createLiveLines()", () => {
  test("rewrites the right line on a terminal", () => {
    const stream = sink(true);
    createLiveLines(stream, 3).set(1, "second");
    expect(stream.text()).toBe("\n\n\n\u001b[2A\r\u001b[2Ksecond\u001b[2B\r");
  });
  test("cuts lines to the width of the terminal", () => {
    const stream = { ...sink(true), columns: 10 };
    createLiveLines(stream, 1).set(0, "0123456789");
    expect(stream.text()).toContain("01234567…");
    expect(stream.text()).not.toContain("012345678");
  });
  test("prints final lines only elsewhere", () => {
    const stream = sink(false);
    const lines = createLiveLines(stream, 2);
    lines.set(0, "half");
    lines.finish(0, "whole");
    expect(stream.text()).toBe("whole\n");
  });
});

describe("heatMap()", () => {
  test("has a row per head, a column per layer, and shows any kept pair", () => {
    const map = heatMap(
      [
        [0, 1],
        [80, 100],
      ],
      100,
    ).split("\n");
    expect(map[1]).toBe("head 0  │ ▇│");
    expect(map[2]).toBe("head 1  │▁█│");
  });
});

describe("keptTable()", () => {
  test("aligns the counts", () => {
    expect(keptTable([[7, 1200]])).toBe("layer  head 0  head 1\n    0       7    1200");
  });
});

describe("table()", () => {
  test("aligns words left, numbers right, and shortens what is too long", () => {
    const text = table(
      ["name", "n"],
      [
        ["a", "1"],
        ["x".repeat(100), "100"],
      ],
    );
    const [, first = "", second = ""] = text.split("\n");
    expect(first.endsWith("  1")).toBe(true);
    expect(second).toContain("…  100");
  });
});

describe("units", () => {
  test("are what people read", () => {
    expect([0, 999, 1500, 491_400_064, 99_600_000].map(formatBytes)).toEqual(["0 B", "999 B", "1.5 KB", "491 MB", "100 MB"]);
    expect(formatCount(1880)).toBe("1,880");
    expect([0.0123, 12.34].map(formatSeconds)).toEqual(["12 ms", "12.3 s"]);
  });
});

describe("describeFailure()", () => {
  test("says the code and what to do next", () => {
    const { text, exitCode } = describeFailure(new KvaultError("UNREACHABLE", "Cannot connect"), false);
    expect(text).toBe("error: Cannot connect [UNREACHABLE]\nStart a server with `kvault up`, or name one with --address.");
    expect(exitCode).toBe(EXIT.failure);
  });
  test("tells wrong input from failure, and an interruption from both", () => {
    expect(describeFailure(new KvaultError("METHOD_NOT_FOUND", "x"), false).exitCode).toBe(EXIT.usage);
    expect(describeFailure(new Error("x"), false).exitCode).toBe(EXIT.failure);
    expect(describeFailure(new KvaultError("CANCELLED", "x"), true).exitCode).toBe(EXIT.interrupted);
  });
});
