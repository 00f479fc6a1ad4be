import { expect, test } from "vitest";
import { ProgressWriter } from "./progress-writer.ts";

test("ProgressWriter writes one at a time, and of what came meanwhile the newest only", async () => {
  const written: number[] = [];
  let underWay = 0;
  const writer = new ProgressWriter<number>(async (progress) => {
    expect(++underWay).toBe(1);
    await new Promise((resolve) => setImmediate(resolve));
    underWay--;
    written.push(progress);
  });
  for (let i = 1; i <= 1_000; i++) writer.put(i);
  await writer.flush();
  expect(written).toEqual([1, 1_000]);
  writer.put(7);
  await writer.flush();
  expect(written).toEqual([1, 1_000, 7]);
});

test("ProgressWriter goes on after a write that failed", async () => {
  const written: number[] = [];
  const writer = new ProgressWriter<number>(async (progress) => {
    if (progress === 1) throw new Error("down");
    written.push(progress);
  });
  writer.put(1);
  writer.put(2);
  await writer.flush();
  expect(written).toEqual([2]);
});
