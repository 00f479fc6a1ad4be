/**
 * Giving way between two runs.
 *
 * @module
 */

/** Resolves after pending I/O callbacks ran, so that cancellations and new work are seen between two blocking runs. */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
