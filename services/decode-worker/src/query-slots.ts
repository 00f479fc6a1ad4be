/**
 * How many queries a worker answers at the same time; the rest are told to try elsewhere.
 *
 * The most it may take is configured. What it does take follows from how long queries wait for
 * their first run: longer than reading their question takes means that more are taken than can
 * be served, and the limit falls below what was there (multiplicative decrease, once per round);
 * while the limit is used and nobody waits it grows by one per round of answers (additive
 * increase). So those taken keep their time to first token, whatever the model and the machine.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";

/** Waits that matter to nobody, milliseconds. */
const NO_WAIT_MS = 100;
/** What is left of the number of queries that made one wait. */
const DECREASE = 0.85;
/** Taken whatever they wait: they share runs. */
const LEAST_QUERIES = 8;
/** Share of the limit from which it counts as used. */
const USED = 0.8;

/** The parts of an answer's timings that tell whether it waited, milliseconds. */
export interface AnswerWait {
  readonly queueMs: number;
  readonly loadMs: number;
  readonly ttftMs: number;
}

export interface Slot {
  /** Tells how the query fared; before the release. */
  answered(wait: AnswerWait): void;
  release(): void;
}

export class QuerySlots {
  readonly #max: number;
  readonly #nowMs: () => number;
  #limit: number;
  #taken = 0;
  #decreasedMs = Number.NEGATIVE_INFINITY;

  constructor(max: number, nowMs: () => number = () => performance.now()) {
    this.#max = max;
    this.#limit = max;
    this.#nowMs = nowMs;
  }

  get limit(): number {
    return Math.floor(this.#limit);
  }

  /** Takes a slot until it is released. NO_CAPACITY when `share` of them are taken. */
  take(share = 1): Slot {
    const limit = Math.max(1, Math.floor(this.#limit * share));
    if (this.#taken >= limit) {
      throw new KvaultError("NO_CAPACITY", `Cannot take the query: ${this.#taken} run here`, {
        details: { queries: this.#taken, limit },
      });
    }
    const startMs = this.#nowMs();
    const together = ++this.#taken;
    let released = false;
    return {
      answered: (wait) => this.#adapt(wait, startMs, together),
      release: () => {
        if (!released) this.#taken--;
        released = true;
      },
    };
  }

  #adapt({ queueMs, loadMs, ttftMs }: AnswerWait, startMs: number, together: number): void {
    const readMs = Math.max(0, ttftMs - queueMs - loadMs);
    const waited = queueMs > Math.max(NO_WAIT_MS, readMs);
    if (!waited) {
      if (together >= USED * this.#limit) this.#limit = Math.min(this.#max, this.#limit + 1 / this.#limit);
      return;
    }
    const there = Math.max(together, this.#taken);
    const least = Math.min(this.#max, LEAST_QUERIES);
    // What so few wait for is not each other: an engine that starts, a machine that is busy.
    if (there <= least) return;
    // A query that began before the last decrease tells nothing of what came of it.
    if (startMs < this.#decreasedMs) return;
    this.#decreasedMs = this.#nowMs();
    this.#limit = Math.max(least, Math.min(this.#limit, there) * DECREASE);
  }
}
