import { expect, test } from "vitest";
import { bytes, count, duration, fromNow, percent } from "./format.ts";

test("numbers and times read as people write them", () => {
  expect([0, 999, 1_536, 123_456_789].map(bytes)).toEqual(["0 B", "999 B", "1.5 KB", "123 MB"]);
  expect(count(1_234_567)).toBe("1,234,567");
  expect([0.031, 0.3, 1].map(percent)).toEqual(["3.1%", "30%", "100%"]);
  expect([12.4, 1_500, 61_000].map(duration)).toEqual(["12 ms", "1.50 s", "61.0 s"]);
  const now = Date.parse("2026-01-01T00:00:00Z");
  expect(fromNow("2026-01-01T03:00:00Z", now)).toBe("in 3 hours");
  expect(fromNow("2025-12-30T00:00:00Z", now)).toBe("2 days ago");
  expect(fromNow("2026-01-01T00:00:20Z", now)).toBe("in under a minute");
});
