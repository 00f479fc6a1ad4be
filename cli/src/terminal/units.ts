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

/** `4.2` → `5 s`, `125` → `2 min 5 s`, `4000` → `1 h 7 min`: never less than it is. */
export function formatDuration(seconds: number): string {
  const whole = Math.ceil(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.ceil(whole / 60);
  if (whole < 600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
