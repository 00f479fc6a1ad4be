import { execFileSync } from "node:child_process";
import { homedir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";

const CACHE = process.env["KVAULT_CACHE_DIR"] ?? join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "kvault");
const PROMTOOL = join(CACHE, "test-servers", "bin", "promtool");
const promtool = (...args: readonly string[]): string =>
  execFileSync(PROMTOOL, args, { cwd: "ops/prometheus", encoding: "utf8" });

test("promtool takes the alert rules", () => {
  expect(promtool("check", "rules", "kvault.rules.yaml")).toContain("SUCCESS");
});

test("alerts fire on what they must see, and on nothing else", () => {
  expect(promtool("test", "rules", "kvault.rules.test.yaml")).toContain("SUCCESS");
});
