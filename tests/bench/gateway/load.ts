/**
 * Streams of answers at a given rate or as many at a time as given, and what their callers saw.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Outcome } from "./light-grpc.ts";

/** Asks for one answer, and says how it went. */
export type AskOnce = () => Promise<Outcome>;

export interface Seen {
  readonly seconds: number;
  readonly answered: number;
  readonly refused: number;
  /** Failed in any other way. */
  readonly failed: number;
  readonly ttftMs: Percentiles;
  readonly totalMs: Percentiles;
  readonly refusedMs: Percentiles;
}

export interface Percentiles {
  readonly p50: number;
  readonly p99: number;
}

class Recorder {
  readonly #startMs: number = performance.now();
  readonly #ttftMs: number[] = [];
  readonly #totalMs: number[] = [];
  readonly #refusedMs: number[] = [];
  #failed = 0;

  async run(ask: AskOnce): Promise<void> {
    const { end, firstMs, totalMs } = await ask();
    if (end === "failed") this.#failed++;
    else if (end === "refused") this.#refusedMs.push(totalMs);
    else {
      this.#ttftMs.push(firstMs);
      this.#totalMs.push(totalMs);
    }
  }

  seen(): Seen {
    return {
      seconds: (performance.now() - this.#startMs) / 1_000,
      answered: this.#totalMs.length,
      refused: this.#refusedMs.length,
      failed: this.#failed,
      ttftMs: percentiles(this.#ttftMs),
      totalMs: percentiles(this.#totalMs),
      refusedMs: percentiles(this.#refusedMs),
    };
  }
}

/** `together` streams at any time, for `seconds`. */
export async function closedLoop(ask: AskOnce, together: number, seconds: number): Promise<Seen> {
  const endMs = performance.now() + seconds * 1_000;
  const recorder = new Recorder();
  const one = async (): Promise<void> => {
    while (performance.now() < endMs) await recorder.run(ask);
  };
  await Promise.all(Array.from({ length: together }, one));
  return recorder.seen();
}

/** Streams begun at an even rate, whatever becomes of those before: waiting callers do not slow the next ones. */
export async function openLoop(ask: AskOnce, perSecond: number, seconds: number): Promise<Seen> {
  const recorder = new Recorder();
  const startMs = performance.now();
  const running = new Set<Promise<void>>();
  for (let i = 0; i < perSecond * seconds; i++) {
    const dueMs = startMs + (i * 1_000) / perSecond;
    const waitMs = dueMs - performance.now();
    if (waitMs > 1) await sleep(waitMs);
    const run = recorder.run(ask).finally(() => running.delete(run));
    running.add(run);
  }
  await Promise.all(running);
  return recorder.seen();
}

function percentiles(values: number[]): Percentiles {
  const sorted = values.sort((a, b) => a - b);
  const at = (share: number): number => {
    const value = sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    return value === undefined ? 0 : Math.round(value * 100) / 100;
  };
  return { p50: at(0.5), p99: at(0.99) };
}
