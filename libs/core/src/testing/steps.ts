/**
 * Steps of a test in which several things run at once: wait for a point, not for a time.
 *
 * @module
 */
import { isKvaultError, type KvaultError } from "../errors.ts";

/** A point in one place that another place waits for. */
export interface Gate<T> {
  readonly passed: Promise<T>;
  pass(value: T): void;
}

export function gate<T = void>(): Gate<T> {
  let pass: (value: T) => void = () => undefined;
  const passed = new Promise<T>((resolve) => {
    pass = resolve;
  });
  return { passed, pass };
}

/** The signal's reason, once it aborts. */
export function untilAborted(signal: AbortSignal): Promise<unknown> {
  if (signal.aborted) return Promise.resolve(signal.reason);
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(signal.reason), { once: true }));
}

/** Everything `items` gives. */
export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** The KvaultError that `work` fails with; anything else is a failure of the test. */
export async function failureOf(work: Promise<unknown> | AsyncIterable<unknown>): Promise<KvaultError> {
  try {
    await (work instanceof Promise ? work : collect(work));
  } catch (error) {
    if (isKvaultError(error)) return error;
    throw error;
  }
  throw new Error("Expected a KvaultError: nothing failed");
}
