import { expect, test } from "vitest";
import { variablesOf } from "./config-reference.ts";

const SOURCE = `
const schema = z.object({
  /** Where records live,
   * for example file:/data. */
  KVAULT_STORE_URL: z.string().min(1),
  /** Milliseconds. */
  KVAULT_DRAIN_MS: wholeNumber(0).default(10_000),
  /** A path. */
  KVAULT_CACHE_DIR: z.string().default(join("a", "b")),
});
`;

test("variablesOf() reads names, comments and defaults", () => {
  expect(variablesOf(SOURCE)).toEqual([
    { name: "KVAULT_STORE_URL", summary: "Where records live, for example file:/data.", fallback: undefined },
    { name: "KVAULT_DRAIN_MS", summary: "Milliseconds.", fallback: "10_000" },
    { name: "KVAULT_CACHE_DIR", summary: "A path.", fallback: 'join("a", "b")' },
  ]);
});

test("variablesOf() refuses a variable nobody explained", () => {
  expect(() => variablesOf(SOURCE.replace("/** Milliseconds. */", ""))).toThrow("KVAULT_DRAIN_MS");
});
