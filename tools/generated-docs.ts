/**
 * The generated sections of the documentation, by name.
 *
 * @module
 */
import { ERROR_CODES, KvaultError } from "@kvault/core";

type Generator = () => string | Promise<string>;

/** Name of a `generated:` section → what it holds. */
export const GENERATED: Readonly<Record<string, Generator>> = { errors: errorTable };

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  return [line(headings), line(headings.map(() => "---")), ...rows.map(line)].join("\n");
}

function errorTable(): string {
  const rows = ERROR_CODES.map((code) => [`\`${code}\``, new KvaultError(code, "").retryable ? "yes" : "no"]);
  return table(["code", "retryable"], rows);
}
