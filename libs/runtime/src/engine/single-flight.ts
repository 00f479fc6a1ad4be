/**
 * One piece of work for everybody who wants it at the same time. Each waits under its own
 * signal; the work itself is stopped only when nobody waits any more.
 *
 * @module
 */
import { KvaultError, orAborted, throwIfAborted } from "@kvault/core";

interface Flight<T> {
  readonly promise: Promise<T>;
  readonly controller: AbortController;
  waiting: number;
}

export class SingleFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();

  /** Joins the work under way for `key`, or starts `work`. `leader` tells who started it. */
  async run(
    key: string,
    work: (signal: AbortSignal) => Promise<T>,
    signal?: AbortSignal,
  ): Promise<{ readonly value: T; readonly leader: boolean }> {
    throwIfAborted(signal);
    const joined = this.#flights.get(key);
    const flight = joined ?? this.#start(key, work);
    flight.waiting++;
    try {
      return { value: await orAborted(flight.promise, signal), leader: joined === undefined };
    } finally {
      flight.waiting--;
      if (flight.waiting === 0) {
        // A latecomer must not join work that is being stopped.
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
        flight.controller.abort(new KvaultError("CANCELLED", "Nobody waits for this any more"));
      }
    }
  }

  #start(key: string, work: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const promise = work(controller.signal).finally(() => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    });
    // Those who wait see the failure; when all left nobody does.
    promise.catch(() => undefined);
    const flight: Flight<T> = { promise, controller, waiting: 0 };
    this.#flights.set(key, flight);
    return flight;
  }
}
