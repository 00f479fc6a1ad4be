/**
 * How many answers one gateway streams at the same time, by class.
 *
 * A query that cannot be taken now is refused at once, with a time to come back: waiting here
 * would only make it, and those behind it, late. BATCH may fill {@link BATCH_SHARE} of the
 * places, here and at every worker, so that INTERACTIVE finds one when both are busy.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { ServiceClass } from "@kvault/rpc";

const BATCH_SHARE = 0.75;
/** When to come back: about when a place is free, and not all at once. */
const MIN_RETRY_MS = 100;
const MAX_RETRY_MS = 5_000;

/** Which part of all places a query of this class may fill. */
export function shareOf(serviceClass: ServiceClass): number {
  return serviceClass === ServiceClass.BATCH ? BATCH_SHARE : 1;
}

export class Admission {
  readonly #maxStreams: number;
  #streams = 0;

  constructor(maxStreams: number) {
    this.#maxStreams = maxStreams;
  }

  get streams(): number {
    return this.#streams;
  }

  /** Takes a place until the function it returns is called. NO_CAPACITY when those of the class are taken. */
  take(serviceClass: ServiceClass): () => void {
    const limit = Math.max(1, Math.floor(this.#maxStreams * shareOf(serviceClass)));
    if (this.#streams >= limit) {
      throw overloaded(`this gateway streams ${this.#streams} answers already`, 1, { streams: this.#streams, limit });
    }
    this.#streams++;
    let released = false;
    return () => {
      if (!released) this.#streams--;
      released = true;
    };
  }
}

/** NO_CAPACITY that tells when a place may be free: after about `seconds`. */
export function overloaded(what: string, seconds: number, details: Readonly<Record<string, number>> = {}): KvaultError {
  const spread = 1 + Math.random();
  const retryAfterMs = Math.round(Math.min(MAX_RETRY_MS, Math.max(MIN_RETRY_MS, seconds * 1_000)) * spread);
  return new KvaultError("NO_CAPACITY", `Cannot answer now: ${what}`, { details: { ...details, retryAfterMs } });
}
