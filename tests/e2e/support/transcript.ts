/**
 * Transcripts in the documentation are what really happens: a test makes the text again and
 * compares. With UPDATE_DOCS=1 it is written instead.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { sections, withSections } from "../../../tools/markdown.ts";

/** Compares `text` with section `name` of `document` after both went through `normalise`, which blanks what may differ. */
export function expectTranscript(document: string, name: string, text: string, normalise: (text: string) => string): void {
  const path = fileURLToPath(new URL(`../../../${document}`, import.meta.url));
  const page = readFileSync(path, "utf8");
  const body = `\`\`\`console\n${text.trim()}\n\`\`\``;
  const isOurs = (section: { readonly kind: string; readonly name: string }): boolean =>
    section.kind === "transcript" && section.name === name;
  if (process.env["UPDATE_DOCS"] !== undefined) {
    writeFileSync(
      path,
      withSections(page, (section) => (isOurs(section) ? body : undefined)),
    );
    return;
  }
  const found = sections(page).find(isOurs);
  expect(found, `${document} has a transcript "${name}"`).toBeDefined();
  expect(normalise(found?.body ?? "")).toBe(normalise(body));
}
