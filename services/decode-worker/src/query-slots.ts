/**
 * How many queries a worker answers at the same time; the rest are told to try elsewhere.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";

export class QuerySlots {
  readonly #limit: number;
  #taken = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Takes a slot until the function it returns is called. NO_CAPACITY when all are taken. */
  take(): () => void {
    if (this.#taken >= this.#limit) {
      throw new KvaultError("NO_CAPACITY", `Cannot take the query: ${this.#taken} run here`, {
        details: { queries: this.#taken, limit: this.#limit },
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
