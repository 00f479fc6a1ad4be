/**
 * Writes the marked sections of every Markdown file (see markdown.ts), and pictures.
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { sectionBody } from "./doc-sections.ts";
import { documents } from "./documents.ts";
import { PICTURES } from "./generated-docs.ts";
import { sections, withSections } from "./markdown.ts";

const root = process.cwd();
for (const path of documents(root)) {
  const text = readFileSync(join(root, path), "utf8");
  const bodies = new Map<number, string | undefined>();
  for (const section of sections(text)) bodies.set(section.line, await sectionBody(root, section));
  write(
    path,
    withSections(text, (section) => bodies.get(section.line)),
  );
}
for (const [path, draw] of Object.entries(PICTURES)) write(path, draw());

function write(path: string, text: string): void {
  const absolute = join(root, path);
  if (existsSync(absolute) && readFileSync(absolute, "utf8") === text) return;
  mkdirSync(dirname(absolute), { recursive: true });
  writeFileSync(absolute, text);
  console.log(`wrote ${path}`);
}
