/**
 * Many streams as one, each value as soon as it is there.
 *
 * @module
 */

interface Arrival<T> {
  readonly iterator: AsyncIterator<T>;
  /** Awaiting it gives the value or throws the source's error. */
  readonly result: Promise<IteratorResult<T>>;
}

/**
 * Values of all `sources` in the order they come; none of them can starve another. Pulls one value
 * ahead of the reader from each source, no more. The first error ends it; sources under way are
 * told to return.
 *
 * Arrivals queue up instead of being raced: a race would leave a reaction on every slow source for
 * every value of a quick one.
 */
export async function* merge<T>(sources: readonly AsyncIterable<T>[]): AsyncGenerator<T, void, undefined> {
  const arrivals: Arrival<T>[] = [];
  let wake = (): void => undefined;
  const pull = (iterator: AsyncIterator<T>): void => {
    const result = iterator.next();
    const arrive = (): void => {
      arrivals.push({ iterator, result });
      wake();
    };
    result.then(arrive, arrive);
  };
  const open = new Set(sources.map((source) => source[Symbol.asyncIterator]()));
  for (const iterator of open) pull(iterator);
  try {
    while (open.size > 0) {
      const arrival = arrivals.shift();
      if (arrival === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const { done, value } = await arrival.result;
      if (done === true) {
        open.delete(arrival.iterator);
      } else {
        pull(arrival.iterator);
        yield value;
      }
    }
  } finally {
    for (const iterator of open) Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}
