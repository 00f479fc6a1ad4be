/**
 * How many builds a worker takes: one runs, a few wait, the rest are told to try elsewhere.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";

export class BuildSlots {
  readonly #limit: number;
  #taken = 0;

  constructor(maxWaiting: number) {
    this.#limit = maxWaiting + 1;
  }

  /** Takes a slot until the function it returns is called. NO_CAPACITY when all are taken. */
  take(): () => void {
    if (this.#taken >= this.#limit) {
      throw new KvaultError("NO_CAPACITY", `Cannot take the build: ${this.#taken} run or wait here`, {
        details: { builds: this.#taken, limit: this.#limit },
      });
    }
    this.#taken++;
    let released = false;
    return () => {
      if (!released) this.#taken--;
      released = true;
    };
  }
}
