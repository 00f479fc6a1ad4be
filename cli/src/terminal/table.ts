/**
 * Columns of text for people: aligned, no frames; numbers to the right.
 *
 * @module
 */

/** Longest cell that is printed; the rest of it becomes an ellipsis. */
const MAX_CELL_CHARS = 72;

/** Lines of a table; a column whose cells are all numbers is aligned to the right. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [headings, ...rows].map((row) => row.map(shorten));
  const numeric = headings.map(
    (_, column) => rows.length > 0 && rows.every((row) => /^[-\d.,]*( ?(ms|s|[KMGT]?B|%|×))?$/.test(row[column] ?? "")),
  );
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => (row[column] ?? "").length)));
  return cells
    .map((row) =>
      row
        .map((cell, column) => (numeric[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function shorten(cell: string): string {
  const line = cell.replace(/\s+/g, " ");
  return line.length > MAX_CELL_CHARS ? `${line.slice(0, MAX_CELL_CHARS - 1)}…` : line;
}
