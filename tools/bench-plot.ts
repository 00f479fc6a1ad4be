/**
 * Plots of bench/results.json as SVG, in the colours of the reader's theme.
 *
 * @module
 */
import { type BenchResult, isReached, readBenchResults, threeDigits } from "./bench-results.ts";

const STYLE = `text{font:12px system-ui,sans-serif;fill:#24292f}.faint{fill:#6e7781}.grid{stroke:#d0d7de}.reached{fill:#1a7f37}
.missed{fill:#bc4c00}.aim{stroke:#24292f;stroke-width:2}.curve{fill:none;stroke:#0969da;stroke-width:2}.dot{fill:#0969da}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#8d96a0}.grid{stroke:#30363d}.reached{fill:#3fb950}
.missed{fill:#db6d28}.aim{stroke:#e6edf3}.curve{stroke:#58a6ff}.dot{fill:#58a6ff}}`;

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

const CURVE_WIDTH = 340;
const CURVE_HEIGHT = 200;
const MARGIN = 56;

/** Time and memory of building longer and longer contexts, both axes linear: a straight line is a cost per token. */
export function lengthsPlot(results: readonly BenchResult[] = readBenchResults()): string {
  const points = results.flatMap(({ name, ours, details }) =>
    name.startsWith("long_")
      ? [{ tokens: Number(details?.["tokens"]), gib: ours / 2 ** 30, seconds: Number(details?.["prefillSeconds"]) }]
      : [],
  );
  const panels = [
    { label: "seconds of reading", values: points.map(({ tokens, seconds }) => [tokens, seconds] as const) },
    { label: "GiB at most", values: points.map(({ tokens, gib }) => [tokens, gib] as const) },
  ];
  const title = "Building a context, by its tokens";
  const body = panels.flatMap(({ label, values }, i) => panel(label, values, i * (CURVE_WIDTH + 2 * MARGIN)));
  return svg(2 * (CURVE_WIDTH + 2 * MARGIN), CURVE_HEIGHT + 2 * MARGIN, title, body);
}

function panel(label: string, values: readonly (readonly [tokens: number, value: number])[], left: number): string[] {
  const most = Math.max(1e-9, ...values.map(([, value]) => value));
  const longest = Math.max(1, ...values.map(([tokens]) => tokens));
  const x = (tokens: number): string => at(left + MARGIN + (tokens / longest) * CURVE_WIDTH);
  const y = (value: number): string => at(MARGIN + CURVE_HEIGHT * (1 - value / most));
  return [
    `<text x="${left + MARGIN}" y="${MARGIN - 16}">${label}</text>`,
    `<line class="grid" x1="${x(0)}" x2="${x(longest)}" y1="${y(0)}" y2="${y(0)}"/>`,
    `<polyline class="curve" points="${values.map(([tokens, value]) => `${x(tokens)},${y(value)}`).join(" ")}"/>`,
    ...values.flatMap(([tokens, value]) => [
      `<circle class="dot" cx="${x(tokens)}" cy="${y(value)}" r="3"/>`,
      `<text class="faint" text-anchor="middle" x="${x(tokens)}" y="${MARGIN + CURVE_HEIGHT + 16}">${Math.round(tokens / 1024)}K</text>`,
      `<text text-anchor="end" x="${Number(x(tokens)) - 6}" y="${Number(y(value)) - 4}">${threeDigits(value)}</text>`,
    ]),
  ];
}
