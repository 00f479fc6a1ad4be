/**
 * Bodies of the marked sections of the documentation: what `make gen` writes and check-docs
 * compares.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { GENERATED } from "./generated-docs.ts";
import type { Section } from "./markdown.ts";

const LANGUAGES: Readonly<Record<string, string>> = {
  ".ts": "ts",
  ".py": "python",
  ".proto": "proto",
  ".json": "json",
  ".sh": "sh",
};

/** What a section's body has to be, or undefined for one that a test owns. */
export async function sectionBody(root: string, section: Section): Promise<string | undefined> {
  if (section.kind === "transcript") return undefined;
  if (section.kind === "include") return included(root, section.name);
  const generate = GENERATED[section.name];
  if (generate === undefined)
    throw new Error(`Cannot generate section "${section.name}": known are ${Object.keys(GENERATED).join(", ")}`);
  return generate();
}

/** A file, or the region of it between `docs:begin NAME` and `docs:end NAME`, fenced. */
function included(root: string, name: string): string {
  const [path = "", region] = name.split("#");
  const text = readFileSync(join(root, path), "utf8");
  const code = region === undefined ? text : regionOf(text, region, path);
  return `\`\`\`${LANGUAGES[extname(path)] ?? "text"}\n${dedent(code).trim()}\n\`\`\``;
}

function regionOf(text: string, region: string, path: string): string {
  const lines = text.split("\n");
  const begin = lines.findIndex((line) => line.trim().endsWith(`docs:begin ${region}`));
  const end = lines.findIndex((line) => line.trim().endsWith(`docs:end ${region}`));
  if (begin < 0 || end < begin) throw new Error(`Cannot include "${path}#${region}": the region is not marked there`);
  return lines.slice(begin + 1, end).join("\n");
}

function dedent(code: string): string {
  const lines = code.split("\n");
  const indents = lines.filter((line) => line.trim() !== "").map((line) => line.length - line.trimStart().length);
  const shared = Math.min(...indents, 80);
  return lines.map((line) => line.slice(shared)).join("\n");
}
