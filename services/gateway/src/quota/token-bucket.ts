/**
 * A rate with a burst. The level rises by `perSecond` up to one second's worth; who takes from an
 * empty bucket waits. A charge after the fact may leave a debt, which is waited off first: what an
 * answer costs is known when it has been given.
 *
 * @module
 */
export class TokenBucket {
  readonly #nowMs: () => number;
  #level: number;
  #perSecond: number;
  #atMs: number;

  constructor(perSecond: number, nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#perSecond = perSecond;
    this.#level = this.#burst;
    this.#atMs = nowMs();
  }

  /** Another rate from now on; the level stays, up to the new burst. */
  setRate(perSecond: number): void {
    if (perSecond === this.#perSecond) return;
    this.#refill();
    this.#perSecond = perSecond;
    this.#level = Math.min(this.#level, this.#burst);
  }

  /** Takes one and returns 0, or takes nothing and returns the milliseconds until there is one. */
  take(): number {
    this.#refill();
    if (this.#level < 1) return this.#msUntil(1);
    this.#level -= 1;
    return 0;
  }

  /** Milliseconds until nothing is owed any more; 0 when nothing is. */
  waitMs(): number {
    this.#refill();
    return this.#level > 0 ? 0 : this.#msUntil(1);
  }

  /** Takes `amount`, into debt if need be. */
  charge(amount: number): void {
    this.#refill();
    this.#level -= amount;
  }

  get #burst(): number {
    return Math.max(1, this.#perSecond);
  }

  #msUntil(level: number): number {
    return Math.max(1, Math.ceil(((level - this.#level) / this.#perSecond) * 1000));
  }

  #refill(): void {
    const nowMs = this.#nowMs();
    this.#level = Math.min(this.#burst, this.#level + (Math.max(0, nowMs - this.#atMs) / 1000) * this.#perSecond);
    this.#atMs = nowMs;
  }
}
