/**
 * Wall time split into phases: exactly one runs at any moment, so they add up.
 *
 * @module
 */
export class PhaseClock<Phase extends string> {
  readonly #nowMs: () => number;
  readonly #spentMs = new Map<Phase, number>();
  #phase: Phase;
  #sinceMs: number;

  constructor(first: Phase, nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
    this.#phase = first;
    this.#sinceMs = nowMs();
  }

  /** Ends the current phase; a phase may be entered many times. */
  enter(phase: Phase): void {
    const nowMs = this.#nowMs();
    this.#spentMs.set(this.#phase, (this.#spentMs.get(this.#phase) ?? 0) + nowMs - this.#sinceMs);
    this.#phase = phase;
    this.#sinceMs = nowMs;
  }

  /** Seconds of `phase` so far. */
  seconds(phase: Phase): number {
    this.enter(this.#phase);
    return (this.#spentMs.get(phase) ?? 0) / 1_000;
  }
}
