import { expect, test } from "vitest";
import { watchLoop } from "./loop-stalls.ts";

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test("watchLoop() sees how long our own code kept the loop waiting", async () => {
  const idle = watchLoop();
  await pause(30);
  expect(idle.stop()).toBeLessThan(25);

  const busy = watchLoop();
  await pause(10);
  const startMs = process.cpuUsage().user / 1_000;
  while (process.cpuUsage().user / 1_000 - startMs < 80);
  await pause(10);
  expect(busy.stop()).toBeGreaterThan(60);
});
