import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CACHE_DIR } from "../cache-dir.ts";

const PROMTOOL = join(CACHE_DIR, "test-servers", "bin", "promtool");
const promtool = (...args: readonly string[]): string =>
  execFileSync(PROMTOOL, args, { cwd: "ops/prometheus", encoding: "utf8" });

test("promtool takes the alert rules", () => {
  expect(promtool("check", "rules", "kvault.rules.yaml")).toContain("SUCCESS");
});

test("alerts fire on what they must see, and on nothing else", () => {
  expect(promtool("test", "rules", "kvault.rules.test.yaml")).toContain("SUCCESS");
});
