/** docs/add-a-method.md is followed to the letter, in a copy of the sources. */
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { createRng } from "@kvault/core";
import { makeDenseLayer } from "@kvault/core/testing";
import { afterAll, expect, test } from "vitest";

const SOURCES = fileURLToPath(new URL(".", import.meta.url));
const PAGE = readFileSync(new URL("../../../docs/add-a-method.md", import.meta.url), "utf8");

// Beside the sources, so that imports of other packages resolve; git and every checker ignore it.
const out = join(SOURCES, "..", "dist");
mkdirSync(out, { recursive: true });
const copy = mkdtempSync(join(out, "add-a-method-"));
afterAll(() => rmSync(copy, { recursive: true, force: true }));

/** The first block of `language` after `from`. */
function blockOf(language: string, from: string): string {
  const rest = PAGE.slice(PAGE.indexOf(from));
  const start = rest.indexOf(`\`\`\`${language}\n`) + language.length + 4;
  return rest.slice(start, rest.indexOf("```", start));
}

/** The lines of a diff put into `text`: each added one before or after the context line beside it. */
function patched(text: string, diff: string): string {
  const lines = text.split("\n");
  const added = diff
    .split("\n")
    .filter((line) => line.startsWith("+"))
    .map((line) => line.slice(1));
  const [statement, entry] = added as [string, string];
  const context = diff
    .split("\n")
    .find((line) => line.startsWith(" "))!
    .slice(1);
  const at = lines.indexOf(context);
  expect(at, `registry.ts has the line "${context}"`).toBeGreaterThan(0);
  lines.splice(at + 1, 0, entry);
  lines.splice(
    lines.findIndex((line) => line.startsWith("import ")),
    0,
    statement,
  );
  expect(added).toHaveLength(2);
  return lines.join("\n");
}

test("a scorer is one new file and one registry line with its import, and works by its name everywhere", async () => {
  cpSync(SOURCES, copy, { recursive: true, filter: (path) => !path.endsWith(".test.ts") });
  const before = readdirSync(join(copy, "scorers"));
  const diff = blockOf("diff", "2. **One line**");
  const file = basename(/"\.\/scorers\/(.+)"/.exec(diff)![1]);
  writeFileSync(join(copy, "scorers", file), blockOf("ts", "1. **One file**"));
  const registry = readFileSync(join(copy, "registry.ts"), "utf8");
  writeFileSync(join(copy, "registry.ts"), patched(registry, diff));
  expect(readdirSync(join(copy, "scorers")).filter((name) => !before.includes(name))).toEqual([file]);

  const { describeMethods, resolveSpec, selectPairs, SCORERS }: typeof import("./index.ts") = await import(
    join(copy, "index.ts")
  );
  const { scorerConformance }: typeof import("./testing/index.ts") = await import(join(copy, "testing", "index.ts"));
  const name = file.replace(".ts", "");
  expect(describeMethods().scorers.map((scorer) => scorer.name)).toContain(name);
  const checks = scorerConformance(SCORERS.get(name)!);
  expect(checks.length).toBeGreaterThan(5);
  for (const check of checks) await check.run();
  const sizes = { numLayers: 1, numKvHeads: 2, seqLen: 20, headDim: 4, prefixTokens: 2 };
  const dense = makeDenseLayer(createRng(1), sizes);
  const plan = resolveSpec(`${name}|global|top-k(keep=0.5)|f16`);
  const { position_n } = selectPairs(plan, { ...sizes, layer: (layer) => ({ ...sizes, ...dense, layer }) });
  expect(position_n).toHaveLength(2 * 2 + 18);
});
