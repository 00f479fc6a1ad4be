/**
 * Deltas on their way to a reader that may be slower than the model.
 *
 * What waits is one delta: new text is joined to it, so a slow reader gets larger pieces and
 * memory holds each token once. A reader that leaves too many tokens unread, or takes nothing
 * for too long while some wait, is given up.
 *
 * @module
 */
import type { QueryDelta } from "./types.ts";

export interface DeltaBufferLimits {
  /** Tokens that may wait. */
  readonly unreadTokens: number;
  /** How long any may wait. */
  readonly stalledMs: number;
}

export const DELTA_BUFFER_LIMITS: DeltaBufferLimits = Object.freeze({ unreadTokens: 4_096, stalledMs: 30_000 });

export class DeltaBuffer {
  readonly #limits: DeltaBufferLimits;
  readonly #onGivenUp: (unreadTokens: number) => void;
  #text = "";
  #tokenIds: number[] = [];
  #stalled: NodeJS.Timeout | undefined;
  #ended: { readonly error?: unknown } | undefined;
  #wake: (() => void) | undefined;

  /** `onGivenUp` is told once, with the tokens nobody read. */
  constructor(limits: DeltaBufferLimits, onGivenUp: (unreadTokens: number) => void) {
    this.#limits = limits;
    this.#onGivenUp = onGivenUp;
  }

  push(delta: QueryDelta): void {
    if (this.#ended !== undefined) return;
    this.#text += delta.text;
    for (const id of delta.tokenIds) this.#tokenIds.push(id);
    this.#wake?.();
    const waiting = this.#tokenIds.length;
    if (waiting > this.#limits.unreadTokens) this.#onGivenUp(waiting);
    else this.#stalled ??= setTimeout(() => this.#onGivenUp(this.#tokenIds.length), this.#limits.stalledMs).unref();
  }

  /** No more deltas; the reader still gets what waits, then `error` if there is one. */
  end(outcome: { readonly error?: unknown } = {}): void {
    this.#ended ??= outcome;
    this.#clearTimer();
    this.#wake?.();
  }

  /** For one reader. */
  async *read(): AsyncGenerator<QueryDelta, void> {
    for (;;) {
      if (this.#text !== "" || this.#tokenIds.length > 0) {
        const delta: QueryDelta = { type: "delta", text: this.#text, tokenIds: this.#tokenIds };
        this.#text = "";
        this.#tokenIds = [];
        this.#clearTimer();
        yield delta;
      } else if (this.#ended !== undefined) {
        if ("error" in this.#ended) throw this.#ended.error;
        return;
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    }
  }

  #clearTimer(): void {
    clearTimeout(this.#stalled);
    this.#stalled = undefined;
  }
}
