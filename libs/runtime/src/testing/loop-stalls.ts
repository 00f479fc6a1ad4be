/**
 * How long this thread worked without a turn of its event loop.
 *
 * A late timer has two causes: our own code, or a processor that was given to others. Linux
 * tells them apart (`/proc/self/schedstat`: nanoseconds on a processor), so only our own work
 * counts, and a busy test machine is no stall of ours. Elsewhere lateness counts whole.
 *
 * @module
 */
import { readFileSync } from "node:fs";

const INTERVAL_MS = 5;

export interface LoopWatch {
  /** Milliseconds of the longest stall so far. */
  stop(): number;
}

/** Starts watching; call from the main thread. */
export function watchLoop(): LoopWatch {
  let lastMs = performance.now();
  let lastWorkedMs = workedMs();
  let longestMs = 0;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    const nowWorkedMs = workedMs();
    const lateMs = nowMs - lastMs - INTERVAL_MS;
    const ownMs = nowWorkedMs === undefined || lastWorkedMs === undefined ? lateMs : nowWorkedMs - lastWorkedMs;
    longestMs = Math.max(longestMs, Math.min(lateMs, ownMs));
    lastMs = nowMs;
    lastWorkedMs = nowWorkedMs;
  }, INTERVAL_MS);
  return {
    stop() {
      clearInterval(timer);
      return longestMs;
    },
  };
}

/** Milliseconds this thread was on a processor; undefined where nobody counts. */
function workedMs(): number | undefined {
  try {
    return Number(readFileSync("/proc/self/schedstat", "utf8").split(" ")[0]) / 1e6;
  } catch {
    return undefined;
  }
}
