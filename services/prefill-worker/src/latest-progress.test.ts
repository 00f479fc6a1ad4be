import { describe, expect, test } from "vitest";
import { latestProgress } from "./latest-progress.ts";

describe("latestProgress()", () => {
  test("yields each report to a reader that keeps up, then returns the result", async () => {
    let report: (n: number) => void = () => undefined;
    let finish: (result: string) => void = () => undefined;
    const reports = latestProgress<number, string>((onProgress) => {
      report = onProgress;
      return new Promise((resolve) => {
        finish = resolve;
      });
    });
    for (const n of [1, 2, 3]) {
      const next = reports.next();
      report(n);
      expect(await next).toEqual({ done: false, value: n });
    }
    const last = reports.next();
    finish("done");
    expect(await last).toEqual({ done: true, value: "done" });
  });

  test("shows a slow reader the latest report only, and the last one even after the end", async () => {
    const reports = latestProgress<number, string>(async (onProgress) => {
      for (let n = 0; n < 1_000; n++) onProgress(n);
      return "done";
    });
    expect(await reports.next()).toEqual({ done: false, value: 999 });
    expect(await reports.next()).toEqual({ done: true, value: "done" });
  });

  test("throws what the work throws, after the last report", async () => {
    const reports = latestProgress<number, string>(async (onProgress) => {
      onProgress(1);
      throw new Error("broken");
    });
    expect(await reports.next()).toEqual({ done: false, value: 1 });
    await expect(reports.next()).rejects.toThrow("broken");
  });

  test("lets a reader leave early without an unhandled rejection", async () => {
    const reports = latestProgress<number, string>(async (onProgress) => {
      onProgress(1);
      throw new Error("nobody looks");
    });
    await reports.next();
    expect(await reports.return("left")).toEqual({ done: true, value: "left" });
  });
});
