/**
 * The text that is read: Newton's Queries, then this repository's own sources, as long as is
 * asked for. What it says does not matter for how long reading it takes.
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** At least `chars` characters. */
export function longText(chars: number): string {
  let text = readFileSync(`${ROOT}/cli/assets/opticks.txt`, "utf8");
  const sources = readdirSync(`${ROOT}/libs`, { recursive: true, encoding: "utf8" }).filter((path) =>
    /^[a-z]+\/src\/.*\.ts$/.test(path),
  );
  for (const path of sources.sort()) {
    if (text.length >= chars) break;
    text += `\n\n${readFileSync(`${ROOT}/libs/${path}`, "utf8")}`;
  }
  if (text.length < chars) throw new Error(`Cannot give a text of ${chars} characters: there are ${text.length}`);
  return text.slice(0, chars);
}
