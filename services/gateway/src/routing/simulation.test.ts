import { createRng } from "@kvault/core";
import { describe, expect, test } from "vitest";
import { type Candidate, chooseWorker } from "./choose-worker.ts";
import { rank } from "./rendezvous.ts";
import { WorkerView } from "./worker-view.ts";

const CONTEXTS = 64;
const CONTEXT_BYTES = 20 * 2 ** 20;
const LOAD_BYTES_PER_SECOND = 100 * 2 ** 20;
const QUERY_MS = 400;
const BEAT_MS = 1_000;
const MEAN_MEMORY_MS = 5_000;

/** A decode worker on a virtual clock: queries run together, contexts are loaded once and leave least recently used first. */
class SimulatedWorker {
  readonly name: string;
  readonly #residentLimit: number;
  readonly #incarnation: string;
  /** Context → when its load is done. Least recently used first. */
  readonly #resident = new Map<string, number>();
  #running = 0;
  #mean = 0;
  #lastMs = 0;
  answered = 0;
  onResident = 0;

  constructor(name: string, residentLimit: number) {
    this.name = name;
    this.#residentLimit = residentLimit;
    this.#incarnation = name;
  }

  load(context: string, nowMs: number): number {
    const readyMs = this.#resident.get(context) ?? nowMs + (CONTEXT_BYTES / LOAD_BYTES_PER_SECOND) * 1_000;
    this.#resident.delete(context);
    this.#resident.set(context, readyMs);
    const [oldest = ""] = this.#resident.keys();
    if (this.#resident.size > this.#residentLimit) this.#resident.delete(oldest);
    return readyMs;
  }

  /** When the query begun now ends. */
  begin(context: string, nowMs: number): number {
    this.#advance(nowMs);
    this.answered++;
    if ((this.#resident.get(context) ?? Number.POSITIVE_INFINITY) <= nowMs) this.onResident++;
    this.#running++;
    return Math.max(nowMs, this.load(context, nowMs)) + QUERY_MS;
  }

  end(nowMs: number): void {
    this.#advance(nowMs);
    this.#running--;
  }

  sample(nowMs: number) {
    this.#advance(nowMs);
    return {
      incarnation: this.#incarnation,
      residentContextIds: [...this.#resident].filter(([, readyMs]) => readyMs <= nowMs).map(([id]) => id),
      residentBytes: this.#resident.size * CONTEXT_BYTES,
      residentLimitBytes: this.#residentLimit * CONTEXT_BYTES,
      runningQueries: this.#running,
      meanQueries: this.#mean,
      maxQueries: 64,
      secondsPerQuery: QUERY_MS / 1_000 / 4,
      loadBytesPerSecond: LOAD_BYTES_PER_SECOND,
      draining: false,
    };
  }

  #advance(nowMs: number): void {
    this.#mean = this.#running + (this.#mean - this.#running) * Math.exp((this.#lastMs - nowMs) / MEAN_MEMORY_MS);
    this.#lastMs = nowMs;
  }
}

/** Calls things at their time, in order. */
class VirtualClock {
  readonly #due: { readonly atMs: number; readonly order: number; readonly act: () => void }[] = [];
  #order = 0;
  nowMs = 0;

  at(atMs: number, act: () => void): void {
    this.#due.push({ atMs, order: this.#order++, act });
  }

  runUntil(endMs: number): void {
    for (;;) {
      this.#due.sort((a, b) => b.atMs - a.atMs || b.order - a.order);
      const next = this.#due.at(-1);
      if (next === undefined || next.atMs > endMs) break;
      this.#due.pop();
      this.nowMs = next.atMs;
      next.act();
    }
    this.nowMs = endMs;
  }
}

interface Scene {
  readonly gateways: number;
  readonly queriesPerSecond: number;
  readonly exponent: number;
  readonly residentLimit: number;
  readonly seed: number;
  readonly choose?: typeof chooseWorker;
}

function simulate({ gateways, queriesPerSecond, exponent, residentLimit, seed, choose = chooseWorker }: Scene) {
  const clock = new VirtualClock();
  const rng = createRng(seed);
  const workers = ["d0:1", "d1:1", "d2:1", "d3:1"].map((name) => new SimulatedWorker(name, residentLimit));
  const weights = Array.from({ length: CONTEXTS }, (_, i) => (i + 1) ** -exponent);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const drawContext = (): string => {
    let left = rng.next() * total;
    let i = 0;
    for (const weight of weights.slice(0, -1)) {
      left -= weight;
      if (left < 0) break;
      i++;
    }
    return `c${i * 7 + seed}`;
  };
  const fleets = Array.from({ length: gateways }, (_, g) => {
    const views = workers.map((worker) => ({ worker, view: new WorkerView(worker.name) }));
    const beat = (): void => {
      for (const { worker, view } of views) view.observe(worker.sample(clock.nowMs));
      clock.at(clock.nowMs + BEAT_MS, beat);
    };
    // Gateways beat out of step.
    clock.at((g * BEAT_MS) / gateways, beat);
    return views;
  });
  const ask = (): void => {
    const { nowMs } = clock;
    const context = drawContext();
    const views = fleets[rng.below(gateways)] ?? [];
    const options = views.map(({ worker, view }) => ({
      worker,
      view,
      ...(view.candidate(context, nowMs, 1) satisfies Candidate),
    }));
    const choice = choose(context, CONTEXT_BYTES, options);
    if (choice === undefined) throw new Error("every worker is full");
    const { chosen, replicateTo } = choice;
    if (replicateTo !== undefined) {
      const readyMs = replicateTo.worker.load(context, nowMs);
      clock.at(Math.max(readyMs, nowMs), () => replicateTo.view.expect(context, clock.nowMs));
    }
    const end = chosen.view.begin(context, nowMs);
    clock.at(chosen.worker.begin(context, nowMs), () => {
      chosen.worker.end(clock.nowMs);
      end(true);
    });
    clock.at(nowMs + (-Math.log(1 - rng.next()) / queriesPerSecond) * 1_000, ask);
  };
  clock.at(0, ask);
  clock.runUntil(60_000);
  for (const worker of workers) {
    worker.answered = 0;
    worker.onResident = 0;
  }
  clock.runUntil(360_000);
  const answered = workers.map((worker) => worker.answered);
  const sum = answered.reduce((a, b) => a + b, 0);
  const onResident = workers.reduce((a, worker) => a + worker.onResident, 0);
  return { imbalance: Math.max(...answered) / (sum / workers.length), residentShare: onResident / sum };
}

describe("routing of a skewed load over 64 contexts and 4 workers", () => {
  test.each([1, 2, 3])("Zipf(1.2): max/mean load at most 1.25, 95% on a resident worker (seed %d)", (seed) => {
    for (const gateways of [1, 3]) {
      const { imbalance, residentShare } = simulate({
        gateways,
        queriesPerSecond: 50,
        exponent: 1.2,
        residentLimit: 40,
        seed,
      });
      expect(imbalance).toBeLessThanOrEqual(1.25);
      expect(residentShare).toBeGreaterThanOrEqual(0.95);
    }
  });

  test("the homes alone would break that limit", () => {
    const homeAlone: typeof chooseWorker = (id, _, candidates) => {
      const [home] = rank(id, candidates, ({ name }) => name);
      return home && { chosen: home, replicateTo: undefined };
    };
    expect(
      simulate({ gateways: 1, queriesPerSecond: 50, exponent: 1.2, residentLimit: 40, seed: 1, choose: homeAlone }).imbalance,
    ).toBeGreaterThan(1.25);
  });

  test("one context alone is spread over all workers", () => {
    const { imbalance, residentShare } = simulate({
      gateways: 2,
      queriesPerSecond: 50,
      exponent: 12,
      residentLimit: 40,
      seed: 4,
    });
    expect(imbalance).toBeLessThanOrEqual(1.25);
    expect(residentShare).toBeGreaterThanOrEqual(0.95);
  });

  test("with little to do, contexts stay where they are (what is not resident is asked for the first time)", () => {
    const { residentShare } = simulate({ gateways: 2, queriesPerSecond: 4, exponent: 1.2, residentLimit: 40, seed: 5 });
    expect(residentShare).toBeGreaterThanOrEqual(0.97);
  });
});
