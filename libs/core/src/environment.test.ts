import { expect, test } from "vitest";
import { unknownVariables } from "./environment.ts";

test("unknownVariables() finds misspelt names of ours and leaves others alone", () => {
  const env = { KVAULT_STORE_URL: "memory:", KVAULT_STOER_URL: "memory:", KVAULT_A: undefined, PATH: "/bin" };
  expect(unknownVariables(env)).toEqual(["KVAULT_A", "KVAULT_STOER_URL"]);
});
