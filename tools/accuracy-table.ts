/**
 * The accuracy table of the documentation, from what the evaluation measured (eval/results).
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const RESULTS = fileURLToPath(new URL("../eval/results", import.meta.url));
const NEEDLES_PER_TEXT = 16;

interface CellResult {
  readonly cell: string;
  readonly needles: number;
  readonly nll: number;
  readonly flips: number;
}

interface Results {
  readonly model: string;
  readonly texts: Readonly<Record<string, { readonly cells: readonly CellResult[] }>>;
}

/** A table for each model that was evaluated; a cell counts the texts it was measured on, and says so. */
export function accuracyTables(): string {
  if (!existsSync(RESULTS)) return "Nothing was measured yet: `make eval`.";
  const files = readdirSync(RESULTS)
    .filter((file) => file.endsWith(".json"))
    .sort();
  return files.map((file) => modelTable(JSON.parse(readFileSync(`${RESULTS}/${file}`, "utf8")) as Results)).join("\n\n");
}

function modelTable({ model, texts }: Results): string {
  const byCell = new Map<string, { readonly text: string; readonly result: CellResult }[]>();
  for (const [text, { cells }] of Object.entries(texts)) {
    for (const result of cells) byCell.set(result.cell, [...(byCell.get(result.cell) ?? []), { text, result }]);
  }
  const rows = [...byCell].map(([cell, measured]) => {
    const mean = (of: (result: CellResult) => number): string =>
      (measured.reduce((sum, { result }) => sum + of(result), 0) / measured.length).toFixed(3);
    const needles = measured.reduce((sum, { result }) => sum + result.needles, 0);
    return `| ${cell} | ${measured.length} | ${needles} of ${measured.length * NEEDLES_PER_TEXT} | ${mean(({ nll }) => nll)} | ${mean(({ flips }) => flips)} |`;
  });
  return [
    `\`${model}\`, texts: ${Object.keys(texts).join(", ")}.`,
    "",
    "| method, kept fraction, refit, codec | texts | needles | nll | flips |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
  ].join("\n");
}
