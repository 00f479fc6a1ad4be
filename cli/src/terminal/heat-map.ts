/**
 * Kept pairs per layer and head, as a picture that fits a terminal: one row of blocks per KV
 * head, one column per layer; and as plain numbers, one line per layer, for everything else.
 *
 * @module
 */
import { table } from "./table.ts";
import { formatCount } from "./units.ts";

const BLOCKS = [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"];

/** `kept_LK[layer][head]` pairs of `total` each → lines of blocks with a scale. */
export function heatMap(kept_LK: readonly (readonly number[])[], total: number): string {
  const numHeads = Math.max(0, ...kept_LK.map((row) => row.length));
  const label = (head: number): string => `head ${head}`.padEnd(8);
  const rows = Array.from({ length: numHeads }, (_, head) => {
    const cells = kept_LK.map((row) => block(row[head] ?? 0, total)).join("");
    return `${label(head)}│${cells}│`;
  });
  const legend = `${" ".repeat(9)}█ all ${formatCount(total)} positions kept, ▁ at most one in eight, blank: none`;
  return [ruler(kept_LK.length), ...rows, legend].join("\n");
}

/** The same as numbers: one line per layer, one column per head. */
export function keptTable(kept_LK: readonly (readonly number[])[]): string {
  const numHeads = Math.max(0, ...kept_LK.map((row) => row.length));
  const headings = ["layer", ...Array.from({ length: numHeads }, (_, head) => `head ${head}`)];
  return table(
    headings,
    kept_LK.map((row, layer) => [String(layer), ...row.map(String)]),
  );
}

function block(kept: number, total: number): string {
  if (kept <= 0 || total <= 0) return BLOCKS[0] ?? "";
  return BLOCKS[Math.min(8, Math.ceil((kept / total) * 8))] ?? "";
}

/** Layer numbers above every fifth column. */
function ruler(numLayers: number): string {
  let line = "layer    ";
  for (let layer = 0; layer < numLayers; layer += 5) line = line.padEnd(9 + layer) + String(layer);
  return line;
}
