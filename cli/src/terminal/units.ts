/**
 * Numbers as people read them.
 *
 * @module
 */

const UNITS = ["B", "KB", "MB", "GB", "TB"] as const;

/** `1536` → `1.5 KB`; decimal units, as disks and networks count. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.5 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** `1880` → `1,880`. */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}

/** `0.0123` → `12 ms`, `12.3` → `12.3 s`. */
export function formatSeconds(seconds: number): string {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}
