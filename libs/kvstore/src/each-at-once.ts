/**
 * Bounded concurrency over any iterable, for the many small requests a record takes.
 *
 * @module
 */

/** Each is one small request; more only queue in the backend. */
const MAX_AT_ONCE = 8;

/** Runs `work` on each item, eight at a time; after a failure starts no more, waits for the running and throws it. */
export async function eachAtOnce<T>(items: Iterable<T> | AsyncIterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  const running = new Set<Promise<void>>();
  let failure: { readonly error: unknown } | undefined;
  try {
    for await (const item of items) {
      const promise: Promise<void> = work(item)
        .catch((error: unknown) => {
          failure ??= { error };
        })
        .finally(() => running.delete(promise));
      running.add(promise);
      if (running.size >= MAX_AT_ONCE) await Promise.race(running);
      if (failure !== undefined) break;
    }
  } finally {
    await Promise.all(running);
  }
  if (failure !== undefined) throw failure.error;
}
