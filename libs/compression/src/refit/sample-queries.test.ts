import { expect, test } from "vitest";
import { sampleQueries } from "./sample-queries.ts";

test("sampleQueries() draws as many as asked, none twice, tokens ascending, the same every time", () => {
  const sample = sampleQueries(4096, 7, 1000);
  const flat = Array.from(sample.token_M, (token, i) => token * 7 + sample.head_M[i]);
  expect(flat).toHaveLength(1000);
  for (let i = 1; i < flat.length; i++) expect(flat[i]).toBeGreaterThan(flat[i - 1]);
  expect(Math.max(...sample.head_M)).toBe(6);
  expect(Math.max(...sample.token_M)).toBeLessThan(4096);
  expect(sampleQueries(4096, 7, 1000)).toEqual(sample);
});

test("sampleQueries() spreads over tokens and heads", () => {
  const { token_M, head_M } = sampleQueries(10_000, 2, 2000);
  expect(token_M.filter((token) => token < 5000).length).toBeGreaterThan(900);
  expect(token_M.filter((token) => token < 5000).length).toBeLessThan(1100);
  expect(head_M.filter((head) => head === 0).length).toBeGreaterThan(900);
});

test("sampleQueries() takes all where there are too few", () => {
  const { token_M, head_M } = sampleQueries(2, 3, 100);
  expect([...token_M]).toEqual([0, 0, 0, 1, 1, 1]);
  expect([...head_M]).toEqual([0, 1, 2, 0, 1, 2]);
  expect(sampleQueries(0, 3, 100).token_M).toHaveLength(0);
});
