import { scorerConformance } from "@kvault/compression/testing";
import { describe, test } from "vitest";
import { keydiff } from "./keydiff.ts";

describe("scorer keydiff", () => {
  for (const check of scorerConformance(keydiff)) test(check.name, check.run);
});
