import { scorerConformance } from "@kvault/compression/testing";
import { describe, test } from "vitest";
import { valueNorm } from "./value-norm.ts";

describe("scorer value-norm", () => {
  for (const check of scorerConformance(valueNorm)) test(check.name, check.run);
});
