import { mkdtemp, readdir, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { KeptResults } from "./kept-results.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "kvault-kept-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const arrays = [Float32Array.of(1, 2), Float32Array.of(3)];

describe("KeptResults", () => {
  test("makes a result once, for whoever comes later too", async () => {
    let made = 0;
    const make = async () => {
      made++;
      return arrays;
    };
    const common = { weights: "w" };
    expect(await new KeptResults(folder, common).get("step", { text: "a" }, make)).toEqual(arrays);
    expect(await new KeptResults(folder, common).get("step", { text: "a" }, make)).toEqual(arrays);
    expect(made).toBe(1);
    await new KeptResults(folder, common).get("step", { text: "b" }, make);
    await new KeptResults(folder, { weights: "x" }).get("step", { text: "a" }, make);
    await new KeptResults(folder, common).get("other", { text: "a" }, make);
    expect(made).toBe(4);
  });

  test("makes again what was cut short, and keeps nothing of a step that failed", async () => {
    const kept = new KeptResults(folder, {});
    await kept.get("step", {}, async () => arrays);
    const [file] = await readdir(folder);
    await truncate(join(folder, file as string), 20);
    expect(await kept.get("step", {}, async () => [Float32Array.of(9)])).toEqual([Float32Array.of(9)]);
    await expect(kept.get("failing", {}, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    expect(await readdir(folder)).toHaveLength(1);
    await kept.clear();
    await expect(readdir(folder)).rejects.toMatchObject({ code: "ENOENT" });
  });
});
