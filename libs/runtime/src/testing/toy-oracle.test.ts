import { expect, test } from "vitest";
import { toyAnswerPrefix } from "./toy-oracle.ts";

test("the right answer follows from text and method alone, and tells them apart", async () => {
  const text = "The vault's combination is 7193. ".repeat(20);
  const prefix = await toyAnswerPrefix(text, "none");
  expect(prefix).toMatch(/^[0-9a-f]{8} $/);
  expect(await toyAnswerPrefix(text, "none")).toBe(prefix);
  expect(await toyAnswerPrefix(text, "kvzip")).not.toBe(prefix);
  expect(await toyAnswerPrefix(`${text}.`, "none")).not.toBe(prefix);
});
