/**
 * A file that is read again when it changes: secrets and certificates are rotated under running
 * servers.
 *
 * Polled, not watched: mounted secrets change by swapping a link two folders up, which watchers of
 * the file miss. What cannot be read or parsed leaves the last good value in place, and is told
 * once: a half-written file locks nobody out and lets nobody in.
 *
 * @module
 */
import { statSync } from "node:fs";

const DEFAULT_INTERVAL_MS = 1_000;

export interface WatchedFileOptions<T> {
  /** All are read when any of them changes. */
  readonly paths: readonly string[];
  /** Reads the files anew; throws when they cannot be used. */
  readonly read: () => T;
  readonly onChange?: (value: T) => void;
  readonly onError?: (error: unknown) => void;
  /** 1 s. */
  readonly intervalMs?: number;
}

export interface WatchedFile<T> {
  readonly value: T;
  /** Looks now, without waiting for the interval. */
  refresh(): void;
  /** Idempotent. */
  close(): void;
}

/** Throws what `read` throws when there is nothing good to begin with. */
export function watchFiles<T>(options: WatchedFileOptions<T>): WatchedFile<T> {
  let stamp = stampOf(options.paths);
  let value = options.read();
  const refresh = (): void => {
    const now = stampOf(options.paths);
    if (now === stamp) return;
    stamp = now;
    try {
      value = options.read();
    } catch (error) {
      options.onError?.(error);
      return;
    }
    options.onChange?.(value);
  };
  const timer = setInterval(refresh, options.intervalMs ?? DEFAULT_INTERVAL_MS);
  timer.unref();
  return {
    get value() {
      return value;
    },
    refresh,
    close: () => clearInterval(timer),
  };
}

/** Differs whenever a file was written or replaced. */
function stampOf(paths: readonly string[]): string {
  return paths
    .map((path) => {
      const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
      return stat === undefined ? "missing" : `${stat.ino}.${stat.mtimeNs}.${stat.size}`;
    })
    .join(" ");
}
