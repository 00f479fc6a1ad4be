/**
 * The documentation is true where a machine can tell: relative links and their anchors resolve;
 * generated and included sections and pictures are what `make gen` writes; TypeScript shown in a page is
 * included from a file or compiles by itself; every transcript belongs to an end-to-end test,
 * and blocks marked `sh run` are run by tests/e2e/docs.e2e.test.ts.
 *
 *     tsx tools/check-docs.ts [ROOT]
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { compileSnippets, givenOf, type Snippet } from "./compile-snippets.ts";
import { sectionBody } from "./doc-sections.ts";
import { documents } from "./documents.ts";
import { PICTURES } from "./generated-docs.ts";
import { anchors, fences, links, sections } from "./markdown.ts";

const root = process.argv[2] ?? process.cwd();
const TESTS = join(root, "tests", "e2e");
/** Info strings of blocks that nothing checks here; a page with a `diff` has a test that applies it. */
const FENCES = new Set(["", "sh", "sh run", "console", "text", "json", "proto", "python", "toml", "yaml", "diff", "mermaid"]);

const problems: string[] = [];
const snippets: Snippet[] = [];
const testSources = existsSync(TESTS)
  ? readdirSync(TESTS)
      .filter((name) => name.endsWith(".ts"))
      .map((name) => readFileSync(join(TESTS, name), "utf8"))
      .join("\n")
  : "";

for (const path of documents(root)) {
  const text = readFileSync(join(root, path), "utf8");
  checkLinks(path, text);
  checkFences(path, text);
  await checkSections(path, text);
}
for (const [path, draw] of Object.entries(PICTURES)) {
  const found = existsSync(join(root, path)) ? readFileSync(join(root, path), "utf8") : "";
  if (found !== draw()) problems.push(`${path}: is not what \`make gen\` writes`);
}
problems.push(...compileSnippets(root, snippets));
for (const problem of problems) console.error(problem);
process.exitCode = problems.length === 0 ? 0 : 1;

function checkLinks(path: string, text: string): void {
  for (const { target, line } of links(text)) {
    if (/^[a-z]+:/.test(target)) continue;
    const [file = "", anchor] = target.split("#");
    const resolved = file === "" ? path : normalize(join(dirname(path), decodeURIComponent(file)));
    if (!existsSync(join(root, resolved))) problems.push(`${path}:${line}: link to "${target}", which does not exist`);
    else if (
      anchor !== undefined &&
      resolved.endsWith(".md") &&
      !anchors(readFileSync(join(root, resolved), "utf8")).has(anchor)
    ) {
      problems.push(`${path}:${line}: link to "${target}", which has no such heading`);
    }
  }
}

function checkFences(path: string, text: string): void {
  const covered = sections(text).map((section) => section.body);
  const lines = text.split("\n");
  for (const { info, code, line } of fences(text)) {
    if (FENCES.has(info) || covered.some((body) => body.includes(code))) continue;
    const place = `${path}:${line}`;
    if (info === "ts") snippets.push({ place, given: givenOf(lines[line - 2]) ?? "", code });
    else problems.push(`${place}: a "${info}" block that nothing checks`);
  }
}

async function checkSections(path: string, text: string): Promise<void> {
  for (const section of sections(text)) {
    const { kind, name, body, line } = section;
    if (kind === "transcript") {
      if (!testSources.includes(`"${path}", "${name}"`))
        problems.push(`${path}:${line}: no end-to-end test owns transcript "${name}"`);
      continue;
    }
    const expected = await sectionBody(root, section).catch((error: unknown) => error as Error);
    if (expected instanceof Error) problems.push(`${path}:${line}: ${expected.message}`);
    else if (expected?.trim() !== body) problems.push(`${path}:${line}: section "${name}" is not what \`make gen\` writes`);
  }
}
