import { expect, test } from "vitest";
import { HorizontalAutoscaler } from "./horizontal-autoscaler.ts";
import type { ScaledObject } from "./scaled-object.ts";

const object: ScaledObject = {
  minReplicas: 2,
  maxReplicas: 10,
  scaleUp: {
    stabilizationWindowSeconds: 0,
    policies: [
      { type: "Percent", value: 100, periodSeconds: 30 },
      { type: "Pods", value: 2, periodSeconds: 30 },
    ],
  },
  scaleDown: { stabilizationWindowSeconds: 300, policies: [{ type: "Pods", value: 1, periodSeconds: 60 }] },
  triggers: [
    { name: "a", query: "a", threshold: 10 },
    { name: "b", query: "b", threshold: 0.5 },
  ],
};

test("the largest of the signals decides, rounded up", () => {
  expect(new HorizontalAutoscaler(object).decide(0, 2, [31, 0])).toBe(4);
  expect(new HorizontalAutoscaler(object).decide(0, 2, [0, 1.6])).toBe(4);
});

test("a tenth more or less changes nothing", () => {
  expect(new HorizontalAutoscaler(object).decide(0, 3, [32.9, 0])).toBe(3);
  expect(new HorizontalAutoscaler(object).decide(0, 3, [33.1, 0])).toBe(4);
});

test("up: at most twice as many, or two more, in a period; never beyond the most", () => {
  const autoscaler = new HorizontalAutoscaler(object);
  expect(autoscaler.decide(0, 2, [1_000, 0])).toBe(4);
  expect(autoscaler.decide(15, 4, [1_000, 0])).toBe(4);
  expect(autoscaler.decide(30, 4, [1_000, 0])).toBe(8);
  expect(autoscaler.decide(60, 8, [1_000, 0])).toBe(10);
});

test("down: when nothing in the window wanted more, one in a period; never below the least", () => {
  const autoscaler = new HorizontalAutoscaler(object);
  expect(autoscaler.decide(0, 4, [40, 0])).toBe(4);
  expect(autoscaler.decide(300, 4, [0, 0])).toBe(4);
  expect(autoscaler.decide(301, 4, [0, 0])).toBe(3);
  expect(autoscaler.decide(330, 3, [0, 0])).toBe(3);
  expect(autoscaler.decide(361, 3, [0, 0])).toBe(2);
  expect(autoscaler.decide(1_000, 2, [0, 0])).toBe(2);
});

test("a signal that is no number is an error, not zero", () => {
  expect(() => new HorizontalAutoscaler(object).decide(0, 2, [1])).toThrow("Cannot scale by NaN");
});
