/**
 * Work that reports progress, as a stream: a reader that is slower than the work sees the
 * latest report and skips those before it, so nothing piles up.
 *
 * @module
 */

/** Yields reports while `work` runs; returns its result or throws its error. */
export async function* latestProgress<Report, Result>(
  work: (report: (progress: Report) => void) => Promise<Result>,
): AsyncGenerator<Report, Result, undefined> {
  let latest: { readonly report: Report } | undefined;
  let settled = false;
  let wake: () => void = () => undefined;
  const result = work((report) => {
    latest = { report };
    wake();
  }).finally(() => {
    settled = true;
    wake();
  });
  // Thrown below; a reader that left earlier does not look any more.
  result.catch(() => undefined);
  for (;;) {
    const next = latest;
    if (next !== undefined) {
      latest = undefined;
      yield next.report;
    } else if (settled) {
      return await result;
    } else {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  }
}
