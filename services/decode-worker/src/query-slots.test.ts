import { describe, expect, test } from "vitest";
import { type AnswerWait, QuerySlots } from "./query-slots.ts";

const PROMPT: AnswerWait = { queueMs: 0, loadMs: 5_000, ttftMs: 5_200 };
const LATE: AnswerWait = { queueMs: 900, loadMs: 0, ttftMs: 1_100 };

describe("QuerySlots", () => {
  test("takes as many queries as it may, then refuses as retryable", () => {
    const slots = new QuerySlots(2);
    slots.take();
    slots.take();
    expect(() => slots.take()).toThrow(expect.objectContaining({ code: "NO_CAPACITY", retryable: true }));
  });

  test("a slot released twice is free once", () => {
    const slots = new QuerySlots(1);
    const slot = slots.take();
    slot.release();
    slot.release();
    slots.take();
    expect(() => slots.take()).toThrow(expect.objectContaining({ code: "NO_CAPACITY" }));
  });

  test("a share of the slots is refused earlier", () => {
    const slots = new QuerySlots(8);
    for (let i = 0; i < 6; i++) slots.take(0.75);
    expect(() => slots.take(0.75)).toThrow(expect.objectContaining({ code: "NO_CAPACITY" }));
    slots.take();
  });

  test("queries that wait longer than they read lower the limit, once per round", () => {
    let nowMs = 0;
    const slots = new QuerySlots(64, () => nowMs);
    const round = Array.from({ length: 40 }, () => slots.take());
    nowMs = 1_100;
    for (const slot of round) {
      slot.answered(LATE);
      slot.release();
    }
    expect(slots.limit).toBe(34);
    nowMs = 2_000;
    const [first] = Array.from({ length: 10 }, () => slots.take());
    first?.answered(LATE);
    expect(slots.limit).toBe(8);
  });

  test("what few queries wait for is not each other: a late one alone lowers nothing", () => {
    const slots = new QuerySlots(32);
    for (let i = 0; i < 8; i++) slots.take().answered(LATE);
    expect(slots.limit).toBe(32);
    slots.take().answered(LATE);
    expect(slots.limit).toBe(8);
  });

  test("does not go below what shares runs anyway, nor above what is configured", () => {
    const slots = new QuerySlots(3);
    slots.take().answered(LATE);
    expect(slots.limit).toBe(3);
    for (let i = 0; i < 10; i++) {
      const slot = slots.take();
      slot.answered(PROMPT);
      slot.release();
    }
    expect(slots.limit).toBe(3);
  });

  test("grows again while it is used and nobody waits; a load is no wait", () => {
    let nowMs = 0;
    const slots = new QuerySlots(64, () => ++nowMs);
    for (let i = 0; i < 30; i++) slots.take();
    slots.take().answered(LATE);
    const lowered = slots.limit;
    expect(lowered).toBeLessThan(30);
    const used = new QuerySlots(64, () => ++nowMs);
    const few = Array.from({ length: 9 }, () => used.take());
    few[0]?.answered(LATE);
    for (const slot of few) slot.release();
    expect(used.limit).toBe(8);
    for (let round = 0; round < 40; round++) {
      const taken = Array.from({ length: used.limit }, () => used.take());
      for (const slot of taken) {
        slot.answered(PROMPT);
        slot.release();
      }
    }
    expect(used.limit).toBeGreaterThan(14);
    const idle = used.take();
    const before = used.limit;
    idle.answered(PROMPT);
    expect(used.limit).toBe(before);
  });
});
