/**
 * Type-checks the TypeScript of the documentation: every `ts` block that is not included from a
 * file. What a block takes as given is declared in a comment above it:
 *
 *     <!-- given: declare const contextId: string; -->
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

export interface Snippet {
  /** `path:line` of the block in its page. */
  readonly place: string;
  readonly given: string;
  readonly code: string;
}

const OPTIONS = {
  extends: "../../../tsconfig.base.json",
  compilerOptions: { noEmit: true, composite: false, isolatedDeclarations: false, noUncheckedIndexedAccess: false },
  include: ["*.ts"],
};

/** Text of a `given:` comment, or undefined. */
export function givenOf(line: string | undefined): string | undefined {
  return /^<!-- given: (.*) -->$/.exec(line ?? "")?.[1];
}

/** One line for every error, beginning with its place in a page. Needs the packages to be built. */
export function compileSnippets(root: string, snippets: readonly Snippet[]): string[] {
  if (snippets.length === 0) return [];
  const cache = join(root, "node_modules", ".kvault-docs");
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, "snippets-"));
  try {
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(OPTIONS));
    for (const [index, { given, code }] of snippets.entries()) {
      writeFileSync(join(folder, `${index}.ts`), `${given}\n${code}\nexport {};\n`);
    }
    const tsc = resolve(root, "node_modules", ".bin", "tsc");
    const { stdout } = spawnSync(tsc, ["-p", folder, "--pretty", "false"], { cwd: folder, encoding: "utf8" });
    return stdout
      .split("\n")
      .filter((line) => /error TS\d+/.test(line))
      .map((line) => line.replace(/^.*?(\d+)\.ts\((\d+),\d+\)/, (_, index: string) => snippets[Number(index)]?.place ?? index));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
