import { ERROR_CODES } from "@kvault/core";
import { expect, test } from "vitest";
import { ADVISED, adviceFor } from "./advice.ts";

test("every error of the closed list says what to do next, and no other is advised about", () => {
  expect([...ADVISED].sort()).toEqual([...ERROR_CODES].sort());
  for (const code of ERROR_CODES) expect(adviceFor(code)).toMatch(/^[A-Z].*\.$/);
});
