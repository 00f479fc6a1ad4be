import { describe, expect, test } from "vitest";
import { BuildSlots } from "./build-slots.ts";

describe("BuildSlots", () => {
  test("takes one build and as many more as may wait, then refuses as retryable", () => {
    const slots = new BuildSlots(1);
    slots.take();
    slots.take();
    expect(() => slots.take()).toThrow(expect.objectContaining({ code: "NO_CAPACITY", retryable: true }));
  });

  test("a slot released twice is free once", () => {
    const slots = new BuildSlots(0);
    const release = slots.take();
    release();
    release();
    slots.take();
    expect(() => slots.take()).toThrow(expect.objectContaining({ code: "NO_CAPACITY" }));
  });
});
