import { describe, expect, test } from "vitest";
import { QuerySlots } from "./query-slots.ts";

describe("QuerySlots", () => {
  test("takes as many queries as it may, then refuses as retryable", () => {
    const slots = new QuerySlots(2);
    slots.take();
    slots.take();
    expect(() => slots.take()).toThrow(expect.objectContaining({ code: "NO_CAPACITY", retryable: true }));
  });

  test("a slot released twice is free once", () => {
    const slots = new QuerySlots(1);
    const release = slots.take();
    release();
    release();
    slots.take();
    expect(() => slots.take()).toThrow(expect.objectContaining({ code: "NO_CAPACITY" }));
  });
});
