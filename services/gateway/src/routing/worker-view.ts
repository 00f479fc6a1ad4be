/**
 * What a gateway knows of a decode worker: what it last published, and what this gateway has
 * done since.
 *
 * Every part has one owner. The sample belongs to the worker's Status and replaces everything it
 * tells of; queries begun and ended here since then are added to it, so that a burst does not
 * all go to the worker that was free a second ago. A mark belongs to the calls that failed, and
 * goes by time alone: no sample takes it back. A new incarnation of the worker starts over.
 *
 * @module
 */
import type { Candidate } from "./choose-worker.ts";

/** What a worker says of itself. */
export interface WorkerSample {
  /** New at every start of its process. */
  readonly incarnation: string;
  readonly residentContextIds: readonly string[];
  readonly residentBytes: number;
  readonly residentLimitBytes: number;
  readonly runningQueries: number;
  readonly meanQueries: number;
  readonly maxQueries: number;
  readonly secondsPerQuery: number;
  readonly loadBytesPerSecond: number;
  readonly draining: boolean;
}

/** A worker that never said how much it takes. */
const DEFAULT_MAX_QUERIES = 64;
/** Before the first measurement: a short answer, and a disk. */
const DEFAULT_SECONDS_PER_QUERY = 0.2;
const DEFAULT_LOAD_BYTES_PER_SECOND = 200e6;
/** A load is done, or the next sample tells, within this. */
const EXPECTED_MS = 5_000;
/** Contexts expected at one worker. */
const MAX_EXPECTED = 4_096;
/** How long a worker is spared after a failure, doubled for every further one in a row. */
const MARK_MS = 500;
const MAX_MARK_MS = 15_000;
/** How long a worker that refused for lack of room counts as full. */
const FULL_MS = 100;

export class WorkerView {
  readonly name: string;
  #sample: WorkerSample | undefined;
  #resident: ReadonlySet<string> = new Set();
  /** Context → until when it counts as resident without having been seen there. */
  readonly #expected = new Map<string, number>();
  #own = 0;
  #ownAtSample = 0;
  #failuresInRow = 0;
  #markedUntilMs = 0;
  #fullUntilMs = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** Takes a sample that was asked for when `ownWhenAsked` of the queries here were this gateway's. */
  observe(sample: WorkerSample, ownWhenAsked: number = this.#own): void {
    if (this.#sample !== undefined && this.#sample.incarnation !== sample.incarnation) {
      this.#expected.clear();
      this.#failuresInRow = 0;
      this.#markedUntilMs = 0;
      this.#fullUntilMs = 0;
    }
    this.#sample = sample;
    this.#resident = new Set(sample.residentContextIds);
    this.#ownAtSample = ownWhenAsked;
  }

  /** Queries of this gateway that run there. */
  get own(): number {
    return this.#own;
  }

  get isDraining(): boolean {
    return this.#sample?.draining === true;
  }

  isMarked(nowMs: number): boolean {
    return nowMs < this.#markedUntilMs;
  }

  /** A call failed for reasons of the worker's. */
  mark(nowMs: number): void {
    this.#markedUntilMs = nowMs + Math.min(MAX_MARK_MS, MARK_MS * 2 ** this.#failuresInRow);
    this.#failuresInRow = Math.min(this.#failuresInRow + 1, 10);
  }

  /** It refused a query for lack of room. */
  markFull(nowMs: number): void {
    this.#fullUntilMs = nowMs + FULL_MS;
  }

  /** Counts a query until the function it returns is called, with whether the worker did what it should. */
  begin(contextId: string, nowMs: number): (well: boolean) => void {
    this.#own++;
    this.expect(contextId, nowMs);
    let over = false;
    return (well) => {
      if (over) return;
      over = true;
      this.#own--;
      if (well) this.#failuresInRow = 0;
      else this.#expected.delete(contextId);
    };
  }

  /** The context is being loaded there. */
  expect(contextId: string, nowMs: number): void {
    this.#expected.delete(contextId);
    this.#expected.set(contextId, nowMs + EXPECTED_MS);
    const [oldest] = this.#expected.keys();
    if (this.#expected.size > MAX_EXPECTED && oldest !== undefined) this.#expected.delete(oldest);
  }

  /** The context was let go there. */
  forget(contextId: string): void {
    this.#expected.delete(contextId);
  }

  /** The worker as a choice sees it; the query may fill `share` of its places. */
  candidate(contextId: string, nowMs: number, share: number): Candidate {
    const sample = this.#sample;
    const since = this.#own - this.#ownAtSample;
    const maxInFlight = Math.max(1, Math.floor((sample?.maxQueries || DEFAULT_MAX_QUERIES) * share));
    return {
      name: this.name,
      resident: this.#resident.has(contextId) || (this.#expected.get(contextId) ?? 0) > nowMs,
      inFlight: Math.max(this.#own, (sample?.runningQueries ?? 0) + since, nowMs < this.#fullUntilMs ? maxInFlight : 0),
      maxInFlight,
      load: Math.max(0, (sample?.meanQueries ?? 0) + since),
      secondsPerQuery: this.secondsPerQuery,
      loadBytesPerSecond: sample?.loadBytesPerSecond || DEFAULT_LOAD_BYTES_PER_SECOND,
      freeBytes: sample?.residentLimitBytes ? sample.residentLimitBytes - sample.residentBytes : Number.POSITIVE_INFINITY,
    };
  }

  get secondsPerQuery(): number {
    return this.#sample?.secondsPerQuery || DEFAULT_SECONDS_PER_QUERY;
  }
}
