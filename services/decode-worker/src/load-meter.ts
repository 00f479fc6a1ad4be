/**
 * What a worker tells of its load, for gateways to compare workers by. All of it is measured
 * here, so that every gateway sees the same, however many there are.
 *
 * - mean queries: running queries, averaged with an exponentially fading memory of
 *   {@link MEMORY_MS}: a burst moves nothing, lasting load does;
 * - seconds per query: time in which anything ran, divided by queries that ended in it, both
 *   fading. Queries that share runs make each other cheaper, and this says so;
 * - load speed: bytes of contexts made resident per second of loading, smoothed.
 *
 * @module
 */

const MEMORY_MS = 5_000;
/** Longer, since it counts queries: few end in some seconds. */
const COST_MEMORY_MS = 30_000;
/** Weight of the newest load. */
const LOAD_WEIGHT = 0.3;

export class LoadMeter {
  readonly #nowMs: () => number;
  #lastMs: number;
  #running = 0;
  #mean = 0;
  #busyMs = 0;
  #ended = 0;
  #loadBytesPerSecond = 0;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
    this.#lastMs = nowMs();
  }

  /** Counts a query until the function it returns is called. */
  begin(): () => void {
    this.#advance();
    this.#running++;
    let over = false;
    return () => {
      if (over) return;
      over = true;
      this.#advance();
      this.#running--;
      this.#ended++;
    };
  }

  loaded(bytes: number, ms: number): void {
    if (!(bytes > 0 && ms > 0)) return;
    const speed = (bytes / ms) * 1_000;
    const weight = this.#loadBytesPerSecond === 0 ? 1 : LOAD_WEIGHT;
    this.#loadBytesPerSecond += weight * (speed - this.#loadBytesPerSecond);
  }

  get meanQueries(): number {
    this.#advance();
    return this.#mean;
  }

  /** 0 before the first query ended. */
  get secondsPerQuery(): number {
    this.#advance();
    return this.#ended < 0.01 ? 0 : this.#busyMs / this.#ended / 1_000;
  }

  /** 0 before the first load. */
  get loadBytesPerSecond(): number {
    return this.#loadBytesPerSecond;
  }

  #advance(): void {
    const nowMs = this.#nowMs();
    const passedMs = nowMs - this.#lastMs;
    this.#lastMs = nowMs;
    this.#mean = this.#running + (this.#mean - this.#running) * Math.exp(-passedMs / MEMORY_MS);
    const fade = Math.exp(-passedMs / COST_MEMORY_MS);
    this.#busyMs = this.#busyMs * fade + (this.#running > 0 ? passedMs : 0);
    this.#ended *= fade;
  }
}
