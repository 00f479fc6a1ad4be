import { expect, test } from "vitest";
import { variablesOf, withShared } from "./config-reference.ts";

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

test("withShared() puts in what several services have, spreads within spreads too", () => {
  const shared =
    "export const some = 1;\nexport const fewVariables = {\n  /** A. */\n  KVAULT_A: z.string(),\n};\nexport const allVariables = {\n  ...fewVariables,\n  /** B. */\n  KVAULT_B: z.string(),\n};\n";
  const names = variablesOf(withShared("z.object({\n  ...allVariables,\n  /** C. */\n  KVAULT_C: z.string(),\n})", shared));
  expect(names.map(({ name }) => name)).toEqual(["KVAULT_A", "KVAULT_B", "KVAULT_C"]);
  expect(() => withShared("  ...noVariables,", shared)).toThrow("noVariables");
});
