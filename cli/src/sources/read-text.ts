/**
 * The text that `--file` and `--ignore` name, and a word about what was left out of it.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import type { TextFlags } from "../options.ts";
import type { Terminal } from "../terminal/terminal.ts";
import { formatBytes } from "../terminal/units.ts";
import { readSources, type Sources } from "./read-sources.ts";

/** Names of skipped files that are shown. */
const SHOWN_SKIPPED = 3;

export async function readText(
  { file, ignore }: TextFlags,
  { terminal, signal }: { readonly terminal: Terminal; readonly signal: AbortSignal },
): Promise<Sources> {
  if (file === undefined) throw invalidArgument("file", "Cannot read a text: name a --file, folder, page or - for stdin");
  const sources = await readSources(file, { signal, ...(ignore === undefined ? {} : { ignore }) });
  const { text, described, numFiles, skipped } = sources;
  if (numFiles > 1) terminal.note(`read       ${described}, ${formatBytes(Buffer.byteLength(text))}`);
  if (skipped.length > 0) {
    const more = skipped.length > SHOWN_SKIPPED ? `, and ${skipped.length - SHOWN_SKIPPED} more` : "";
    terminal.note(`left out   ${skipped.slice(0, SHOWN_SKIPPED).join(", ")}${more}`);
  }
  return sources;
}
