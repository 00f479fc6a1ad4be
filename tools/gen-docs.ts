/**
 * Writes the marked sections of every Markdown file (see markdown.ts).
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sectionBody } from "./doc-sections.ts";
import { documents } from "./documents.ts";
import { sections, withSections } from "./markdown.ts";

const root = process.cwd();
for (const path of documents(root)) {
  const text = readFileSync(join(root, path), "utf8");
  const bodies = new Map<number, string | undefined>();
  for (const section of sections(text)) bodies.set(section.line, await sectionBody(root, section));
  const updated = withSections(text, (section) => bodies.get(section.line));
  if (updated === text) continue;
  writeFileSync(join(root, path), updated);
  console.log(`wrote ${path}`);
}
