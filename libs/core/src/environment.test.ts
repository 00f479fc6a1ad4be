import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { unknownVariables } from "./environment.ts";

test("unknownVariables() finds misspelt names of ours and leaves others alone", () => {
  const env = { KVAULT_STORE_URL: "memory:", KVAULT_STOER_URL: "memory:", KVAULT_A: undefined, PATH: "/bin" };
  expect(unknownVariables(env)).toEqual(["KVAULT_A", "KVAULT_STOER_URL"]);
});

test("every variable of docs/config.md is known: a service would refuse it otherwise", () => {
  const page = readFileSync(new URL("../../../docs/config.md", import.meta.url), "utf8");
  const named = [...page.matchAll(/^\| `(KVAULT_[A-Z_]+)` /gm)].map(([, name = ""]) => [name, ""]);
  expect(named.length).toBeGreaterThan(20);
  expect(unknownVariables(Object.fromEntries(named))).toEqual([]);
});
