/**
 * The Markdown files of the repository.
 *
 * @module
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";

/** `site` holds copies of the others, and a front page whose links are the site's. */
const SKIPPED = new Set(["node_modules", "dist", "coverage", "fixtures", "site"]);

/** Paths relative to `root`, ascending. Folders with a leading dot are left out. */
export function documents(root: string, folder = ""): string[] {
  return readdirSync(join(root, folder), { withFileTypes: true })
    .flatMap((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return SKIPPED.has(entry.name) || entry.name.startsWith(".") ? [] : documents(root, path);
      return entry.name.endsWith(".md") ? [path] : [];
    })
    .sort();
}
