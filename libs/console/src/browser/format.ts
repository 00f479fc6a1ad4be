/** Numbers and times as people read them. @module */

const UNITS = ["B", "KB", "MB", "GB", "TB"];

/** 1536 → "1.5 KB"; powers of 1000, as the command line has them. */
export function bytes(count: number): string {
  let [value, unit] = [count, 0];
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

export function count(value: number): string {
  return value.toLocaleString("en-US");
}

export function percent(part: number): string {
  return `${(part * 100).toFixed(part < 0.1 ? 1 : 0)}%`;
}

/** 0.35 → "350 ms". */
export function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

const STEPS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
] as const;

/** "in 3 hours", "2 days ago", "now". */
export function fromNow(time: string, nowMs: number): string {
  const awayMs = Date.parse(time) - nowMs;
  for (const [unit, ms] of STEPS) {
    if (Math.abs(awayMs) >= ms) return new Intl.RelativeTimeFormat("en").format(Math.round(awayMs / ms), unit);
  }
  return awayMs < 0 ? "just now" : "in under a minute";
}
