/**
 * Progress of long work: one bar that redraws itself on a terminal, a plain line every few
 * seconds anywhere else (logs, pipes). Always on stderr, so that stdout holds results only.
 *
 * @module
 */
import { formatBytes, formatCount, formatDuration } from "./units.ts";

/** Milliseconds between two plain lines of the same phase, and between two frames of a bar. */
const PLAIN_INTERVAL_MS = 3000;
const FRAME_INTERVAL_MS = 80;
const BAR_CELLS = 28;
const CLEAR_LINE = "\r\u001b[2K";
/** Eighths of a cell. */
const PARTIAL = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

export interface ProgressStream {
  readonly isTTY?: boolean;
  /** Width of the terminal. */
  readonly columns?: number;
  write(text: string): unknown;
}

export interface ProgressUpdate {
  readonly label: string;
  readonly done: number;
  /** 0: unknown. */
  readonly total: number;
  readonly unit: "tokens" | "layers" | "bytes";
}

export interface Progress {
  /** Shows how far the phase `label` is; a new label ends the phase before. */
  update(update: ProgressUpdate): void;
  /** Ends the phase and prints a line that stays. */
  note(line: string): void;
  /** Ends the phase: the bar stays as it last was. Idempotent. */
  close(): void;
}

/** `now` in milliseconds, injected by tests. */
export function createProgress(stream: ProgressStream, now: () => number = Date.now): Progress {
  const live = stream.isTTY === true;
  let current: { update: ProgressUpdate; startedMs: number; shownMs: number; shown: string } | undefined;

  const show = (force: boolean): void => {
    if (current === undefined) return;
    const { update, startedMs, shownMs, shown } = current;
    const interval = live ? FRAME_INTERVAL_MS : PLAIN_INTERVAL_MS;
    if (!force && now() - shownMs < interval) return;
    const text = live ? bar(update, now() - startedMs) : line(update, now() - startedMs);
    if (text === shown) return;
    stream.write(live ? `${CLEAR_LINE}${text}` : `${text}\n`);
    current.shownMs = now();
    current.shown = text;
  };
  const close = (): void => {
    show(true);
    if (live && current !== undefined) stream.write("\n");
    current = undefined;
  };
  return {
    update(update) {
      if (current !== undefined && current.update.label !== update.label) close();
      const isNew = current === undefined;
      current ??= { update, startedMs: now(), shownMs: Number.NEGATIVE_INFINITY, shown: "" };
      current.update = update;
      show(isNew && update.total > 0);
    },
    note(text) {
      close();
      stream.write(`${text}\n`);
    },
    close,
  };
}

function fraction({ done, total }: ProgressUpdate): number {
  return total > 0 ? Math.min(1, done / total) : 0;
}

function amount({ done, total, unit }: ProgressUpdate): string {
  if (unit === "bytes") return total > 0 ? `${formatBytes(done)} of ${formatBytes(total)}` : formatBytes(done);
  return total > 0 ? `${formatCount(done)} of ${formatCount(total)} ${unit}` : "";
}

function rate({ done, unit }: ProgressUpdate, elapsedMs: number): string {
  if (elapsedMs < 500 || done === 0) return "";
  const perSecond = (done / elapsedMs) * 1000;
  return unit === "bytes"
    ? `${formatBytes(perSecond)}/s`
    : unit === "tokens"
      ? `${formatCount(Math.round(perSecond))} tokens/s`
      : "";
}

/** Time left of the phase at its rate so far; long phases only. */
function timeLeft({ done, total }: ProgressUpdate, elapsedMs: number): string {
  if (elapsedMs < 2_000 || done <= 0 || done >= total) return "";
  return `${formatDuration(((elapsedMs / done) * (total - done)) / 1000)} left`;
}

function bar(update: ProgressUpdate, elapsedMs: number): string {
  if (update.total <= 0) return `${update.label.padEnd(10)} …`;
  const eighths = Math.round(fraction(update) * BAR_CELLS * 8);
  const filled = "█".repeat(Math.floor(eighths / 8)) + (PARTIAL[eighths % 8] ?? "");
  return `${update.label.padEnd(10)} ${filled.padEnd(BAR_CELLS, "░")} ${[amount(update), rate(update, elapsedMs), timeLeft(update, elapsedMs)].filter(Boolean).join("  ")}`;
}

function line(update: ProgressUpdate, elapsedMs: number): string {
  if (update.total <= 0) return `${update.label} …`;
  const percent = `${Math.floor(fraction(update) * 100)}%`;
  return [`${update.label}:`, percent, amount(update), rate(update, elapsedMs), timeLeft(update, elapsedMs)]
    .filter((part) => part !== "")
    .join(" ");
}
