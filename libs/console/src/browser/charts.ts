/**
 * Charts, drawn by uPlot in the page's colours; drawn again when the theme or the width changes.
 * What a chart says is said in words beside it or in its label.
 *
 * @module
 */
import uPlot from "./vendor/uPlot.esm.js";

const HEIGHT = 180;
/** Samples of load kept: ten minutes at one every two seconds. */
const MAX_SAMPLES = 300;

interface Series {
  readonly label: string;
  /** Custom property that has its colour. */
  readonly colour: string;
  readonly dash?: number[];
}

interface Chart {
  readonly label: string;
  readonly x: (value: number) => string;
  readonly y: (value: number) => string;
  readonly series: readonly Series[];
  readonly yMax?: number;
}

/** Keeps a chart of `data()` in `place` until `signal` aborts; returns what draws it anew. */
function keepChart(place: HTMLElement, chart: Chart, data: () => uPlot.AlignedData, signal: AbortSignal): () => void {
  let plot: uPlot | undefined;
  const draw = (): void => {
    if (place.clientWidth === 0) return;
    plot?.destroy();
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", chart.label);
    plot = new uPlot(optionsOf(chart, place), data(), place);
  };
  const resized = new ResizeObserver(() => {
    if (plot === undefined || plot.width !== place.clientWidth) draw();
  });
  resized.observe(place);
  addEventListener("kvault:theme", draw, { signal });
  signal.addEventListener("abort", () => {
    resized.disconnect();
    plot?.destroy();
  });
  draw();
  return () => (plot === undefined ? draw() : plot.setData(data()));
}

function optionsOf({ x, y, series, yMax }: Chart, place: HTMLElement): uPlot.Options {
  const styles = getComputedStyle(place);
  // A custom property keeps its light-dark(); a property that uses it does not.
  const colour = (name: string): string => {
    const probe = document.createElement("i");
    probe.style.color = `var(${name})`;
    place.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  };
  const axis = {
    stroke: colour("--quiet"),
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
    font: `12px ${styles.fontFamily}`,
  };
  return {
    width: place.clientWidth,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    scales: { x: { time: false }, y: { range: (_, __, max) => [0, yMax ?? Math.max(1, Math.ceil(max * 1.1))] } },
    axes: [
      { ...axis, values: (_, ticks) => ticks.map(x) },
      { ...axis, size: 64, values: (_, ticks) => ticks.map(y) },
    ],
    series: [
      {},
      ...series.map(({ label, colour: name, dash }) => ({
        label,
        stroke: colour(name),
        width: 2,
        ...(dash === undefined ? {} : { dash }),
        points: { show: false },
      })),
    ],
  };
}

/** Share kept along a context. */
export function drawAlong(
  place: HTMLElement,
  shares: readonly number[],
  binTokens: number,
  label: string,
  signal: AbortSignal,
): void {
  const data = (): uPlot.AlignedData => [shares.map((_, bin) => bin * binTokens), [...shares]];
  const percent = (value: number): string => `${Math.round(value * 100)}%`;
  keepChart(
    place,
    { label, x: (at) => at.toLocaleString("en-US"), y: percent, series: [{ label: "kept", colour: "--accent" }], yMax: 1 },
    data,
    signal,
  );
}

/** Milliseconds between the pieces of an answer. */
export function drawGaps(place: HTMLElement, arrivedMs: readonly number[], signal: AbortSignal): void {
  const gaps = arrivedMs.slice(1).map((ms, i) => ms - (arrivedMs[i] ?? 0));
  const median = [...gaps].sort((a, b) => a - b)[Math.floor(gaps.length / 2)] ?? 0;
  const label = `Milliseconds between the ${arrivedMs.length} pieces of the answer; half of them came within ${Math.round(median)} ms of the one before`;
  const data = (): uPlot.AlignedData => [gaps.map((_, i) => i + 2), gaps];
  keepChart(place, { label, x: String, y: (ms) => `${ms} ms`, series: [{ label: "gap", colour: "--accent" }] }, data, signal);
}

/** Running queries and builds, from now on. */
export class LoadChart {
  readonly #draw: () => void;
  readonly #startMs = Date.now();
  readonly #seconds: number[] = [];
  readonly #queries: number[] = [];
  readonly #builds: number[] = [];

  constructor(place: HTMLElement, signal: AbortSignal) {
    const series = [
      { label: "queries", colour: "--accent" },
      { label: "builds", colour: "--good", dash: [6, 4] },
    ];
    const label = "Running queries (solid line) and builds (dashed line) over time; the table above has the present numbers";
    this.#draw = keepChart(
      place,
      { label, x: (seconds) => `${seconds} s`, y: String, series },
      () => [this.#seconds, this.#queries, this.#builds],
      signal,
    );
  }

  add(queries: number, builds: number): void {
    this.#seconds.push(Math.round((Date.now() - this.#startMs) / 1000));
    this.#queries.push(queries);
    this.#builds.push(builds);
    for (const samples of [this.#seconds, this.#queries, this.#builds]) if (samples.length > MAX_SAMPLES) samples.shift();
    this.#draw();
  }
}
