/**
 * A bound on retries over all calls, so that a store in trouble is not asked several times as
 * much as before. Every call earns a tenth of a retry and a retry costs a whole one: in the
 * long run at most 10% of the load is repetition, with ten to spend at once.
 *
 * @module
 */

const EARNED_PER_CALL = 0.1;
const MOST = 10;

export class RetryBudget {
  #tokens = MOST;

  /** For each call's first attempt. */
  earn(): void {
    this.#tokens = Math.min(MOST, this.#tokens + EARNED_PER_CALL);
  }

  /** True when a retry may be made; it is paid for then. */
  spend(): boolean {
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
