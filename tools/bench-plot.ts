/**
 * A plot of bench/results.json as SVG, in the colours of the reader's theme.
 *
 * @module
 */
import { type BenchResult, isReached, readBenchResults, threeDigits } from "./bench-results.ts";

const STYLE = `text{font:12px system-ui,sans-serif;fill:#24292f}.faint{fill:#6e7781}.grid{stroke:#d0d7de}.reached{fill:#1a7f37}
.missed{fill:#bc4c00}.aim{stroke:#24292f;stroke-width:2}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#8d96a0}.grid{stroke:#30363d}.reached{fill:#3fb950}
.missed{fill:#db6d28}.aim{stroke:#e6edf3}}`;

const LABEL_WIDTH = 190;
const PLOT_WIDTH = 420;
const VALUE_WIDTH = 170;
const ROW_HEIGHT = 24;
const TOP = 40;

function svg(width: number, height: number, title: string, body: readonly string[]): string {
  const open = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}">`;
  return [open, `<title>${title}</title>`, `<style>${STYLE}</style>`, ...body, "</svg>", ""].join("\n");
}

const at = (value: number): string => value.toFixed(1);

/** Every figure with an aim as a bar on a logarithmic axis, how many times better than what it is measured beside, and its aim. */
export function ratiosPlot(results: readonly BenchResult[] = readBenchResults()): string {
  const rows = results.filter(({ target, name }) => target !== undefined && !name.startsWith("long_"));
  const better = ({ kind }: BenchResult, ratio: number): number => (kind === "gain" ? ratio : 1 / ratio);
  const values = rows.flatMap((row) => [better(row, row.ratio), better(row, row.target as number), 1]);
  const low = Math.floor(Math.log2(Math.min(1, ...values)));
  const high = Math.ceil(Math.log2(Math.max(2, ...values)));
  const x = (value: number): number => LABEL_WIDTH + ((Math.log2(value) - low) / (high - low)) * PLOT_WIDTH;
  const bottom = TOP + rows.length * ROW_HEIGHT;
  const powers = Array.from({ length: high - low + 1 }, (_, i) => low + i).filter((power) => high - low < 8 || power % 2 === 0);
  const grid = powers.flatMap((power) => [
    `<line class="grid" x1="${at(x(2 ** power))}" x2="${at(x(2 ** power))}" y1="${TOP - 6}" y2="${bottom}"/>`,
    `<text class="faint" text-anchor="middle" x="${at(x(2 ** power))}" y="${TOP - 12}">${power < 0 ? `1/${2 ** -power}` : 2 ** power}×</text>`,
  ]);
  const bars = rows.flatMap((row, i) => {
    const y = TOP + i * ROW_HEIGHT;
    const [from, to] = [x(1), x(better(row, row.ratio))];
    const aim = x(better(row, row.target as number));
    const words = row.kind === "gain" ? `${threeDigits(row.ratio)} ×` : `${threeDigits(row.ratio)} of it`;
    const promise = `${row.kind === "gain" ? "≥" : "≤"} ${threeDigits(row.target as number)}`;
    return [
      `<text text-anchor="end" x="${LABEL_WIDTH - 8}" y="${y + 16}">${row.name}</text>`,
      `<rect class="${isReached(row) ? "reached" : "missed"}" x="${at(Math.min(from, to))}" y="${y + 5}" width="${at(Math.max(1, Math.abs(to - from)))}" height="14"/>`,
      `<line class="aim" x1="${at(aim)}" x2="${at(aim)}" y1="${y + 2}" y2="${y + 22}"/>`,
      `<text x="${LABEL_WIDTH + PLOT_WIDTH + 8}" y="${y + 16}">${words} <tspan class="faint">aim ${promise}</tspan></text>`,
    ];
  });
  const title = "How many times better than what it is measured beside; the line is the aim";
  return svg(LABEL_WIDTH + PLOT_WIDTH + VALUE_WIDTH, bottom + 10, title, [
    `<text x="${LABEL_WIDTH}" y="14">${title}</text>`,
    ...grid,
    ...bars,
  ]);
}
