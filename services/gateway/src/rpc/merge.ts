/**
 * Many streams as one, each value as soon as it is there.
 *
 * @module
 */

/**
 * Values of all `sources` in the order they come. Pulls one value ahead of the reader from each
 * source, no more. The first error ends it; sources under way are told to return.
 */
export async function* merge<T>(sources: readonly AsyncIterable<T>[]): AsyncGenerator<T, void, undefined> {
  const iterators = sources.map((source) => source[Symbol.asyncIterator]());
  const next = async (at: number): Promise<{ at: number; result: IteratorResult<T> }> => {
    return { at, result: await (iterators[at] as AsyncIterator<T>).next() };
  };
  const pending = new Map(iterators.map((_, at) => [at, next(at)]));
  try {
    while (pending.size > 0) {
      const { at, result } = await Promise.race(pending.values());
      if (result.done === true) {
        pending.delete(at);
      } else {
        pending.set(at, next(at));
        yield result.value;
      }
    }
  } finally {
    for (const [at, promise] of pending) {
      promise.catch(() => undefined);
      Promise.resolve(iterators[at]?.return?.()).catch(() => undefined);
    }
  }
}
