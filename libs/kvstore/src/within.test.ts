import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { RetryBudget } from "./retry-budget.ts";
import { pause, within } from "./within.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test("within() gives the result, or STORE_UNAVAILABLE when time is up", async () => {
  expect(await within(Promise.resolve(7), 10)).toBe(7);
  const late = expect(within(new Promise(() => undefined), 10)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  await vi.advanceTimersByTimeAsync(20);
  await late;
});

test("within() lets a reply win that was waiting while the event loop was blocked", async () => {
  vi.useRealTimers();
  const reply = new Promise<string>((resolve) => setTimeout(() => setTimeout(resolve, 5, "in time"), 5));
  const waiting = within(reply, 20);
  const blockedUntil = performance.now() + 200;
  while (performance.now() < blockedUntil);
  expect(await waiting).toBe("in time");
});

test("within() and pause() end with the signal", async () => {
  const controller = new AbortController();
  const waits = [within(new Promise(() => undefined), 10_000, controller.signal), pause(10_000, controller.signal)];
  controller.abort();
  for (const wait of waits) await expect(wait).rejects.toMatchObject({ code: "CANCELLED" });
  await expect(pause(10, AbortSignal.abort())).rejects.toMatchObject({ code: "CANCELLED" });
});

test("RetryBudget allows ten at once, then one for every ten calls", () => {
  const budget = new RetryBudget();
  const spendAll = (): number => {
    let spent = 0;
    while (budget.spend()) spent++;
    return spent;
  };
  expect(spendAll()).toBe(10);
  for (let i = 0; i < 35; i++) budget.earn();
  expect(spendAll()).toBe(3);
  for (let i = 0; i < 1_000; i++) budget.earn();
  expect(spendAll()).toBe(10);
});
