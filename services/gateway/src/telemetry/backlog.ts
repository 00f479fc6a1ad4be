/**
 * How much work waits for prefill workers: what the pool is scaled by.
 *
 *   seconds = Σ over builds of (tokens left) / V,   V = tokens per second of one worker
 *
 * V is learned from the reports of finished builds, everything between job and commit counted, and
 * fades from build to build; a gateway that saw none yet learns from those of the last day. A build under way has its tokens left: reading counts for one half of
 * them, scoring for the other. One that waits has the tokens that its text is expected to have
 * (progress of a queued build says so); one that loads a model, those of an average build.
 *
 * The catalogue is shared, so every gateway of a cluster tells the same backlog: read it with max().
 *
 * @module
 */
import { type CompressionReport, Progress_Phase } from "@kvault/rpc";
import type { ContextCatalogue, ContextRecord } from "../catalogue/context-catalogue.ts";

/** Weight of the newest build. */
const WEIGHT = 0.3;
/** Before the first build: a small model on a few cores, a short document. */
const DEFAULT_TOKENS_PER_SECOND = 250;
const DEFAULT_TOKENS = 2_000;
/** Contexts of the last day that a gateway learns from when it has seen no build end. */
const MAX_LEARNED = 100;
const DAY_MS = 86_400_000;
/** A look at the catalogue serves both gauges of one scrape. */
const FRESH_MS = 500;

/** Characters of a token in most languages and in code. */
const CHARS_PER_TOKEN = 4;

/** What a text of so many characters may come to. */
export function expectedTokens(chars: number): number {
  return Math.ceil(chars / CHARS_PER_TOKEN);
}

export class Backlog {
  readonly #catalogue: Pick<ContextCatalogue, "building" | "list">;
  readonly #nowMs: () => number;
  #tokensPerSecond = 0;
  #meanTokens = 0;
  #looked: { readonly atMs: number; readonly tokens: Promise<number> } | undefined;

  constructor(catalogue: Pick<ContextCatalogue, "building" | "list">, nowMs: () => number = () => performance.now()) {
    this.#catalogue = catalogue;
    this.#nowMs = nowMs;
  }

  /** A build ended well. */
  learn({ contextTokens, seconds }: CompressionReport): void {
    if (seconds === undefined || contextTokens === 0) return;
    const { load, prefill, score, compress, publish } = seconds;
    const spent = load + prefill + score + compress + publish;
    if (!(spent > 0)) return;
    this.#tokensPerSecond = smooth(this.#tokensPerSecond, contextTokens / spent);
    this.#meanTokens = smooth(this.#meanTokens, contextTokens);
  }

  tokens(): Promise<number> {
    const nowMs = this.#nowMs();
    if (this.#looked === undefined || nowMs - this.#looked.atMs > FRESH_MS) {
      this.#looked = { atMs: nowMs, tokens: this.#look() };
    }
    return this.#looked.tokens;
  }

  async seconds(): Promise<number> {
    return (await this.tokens()) / (this.#tokensPerSecond || DEFAULT_TOKENS_PER_SECOND);
  }

  async #look(): Promise<number> {
    if (this.#tokensPerSecond === 0) await this.#learnFromBefore();
    return (await this.#catalogue.building()).reduce((sum, record) => sum + this.#left(record), 0);
  }

  async #learnFromBefore(): Promise<void> {
    const after = { createTimeMs: Date.now() - DAY_MS, id: "" };
    for (const { state } of await this.#catalogue.list({ limit: MAX_LEARNED, after, states: new Set(["active"]) })) {
      if (state.type === "active") this.learn(state.report);
    }
  }

  #left({ state }: ContextRecord): number {
    if (state.type !== "creating") return 0;
    const { phase, done, total } = state.progress;
    const average = this.#meanTokens || DEFAULT_TOKENS;
    switch (phase) {
      case Progress_Phase.QUEUED:
        return total || average;
      case Progress_Phase.PREFILL:
        return total - done / 2;
      case Progress_Phase.SCORE:
        return (total - done) / 2;
      case Progress_Phase.COMPRESS:
      case Progress_Phase.PUBLISH:
        return 0;
      default:
        return average;
    }
  }
}

function smooth(before: number, now: number): number {
  return before === 0 ? now : before + WEIGHT * (now - before);
}
