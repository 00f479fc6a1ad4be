/**
 * A mailbox of one value: writers never wait, a slow reader skips to the newest.
 *
 * For state that is told in full each time (progress, snapshots), where a reader that fell
 * behind wants what is true now and a queue would only grow.
 *
 * @module
 */
import { orAborted } from "./abort.ts";

export class Latest<T> {
  #value: { readonly value: T } | undefined;
  #ended = false;
  #wake: (() => void) | undefined;

  /** Replaces what has not been read yet. Ignored after {@link end}. */
  put(value: T): void {
    if (this.#ended) return;
    this.#value = { value };
    this.#wake?.();
  }

  /** The reader gets what is still in the box, then ends. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** For one reader. Rejects when `signal` aborts. */
  async *read(signal?: AbortSignal): AsyncGenerator<T, void, undefined> {
    while (true) {
      if (this.#value !== undefined) {
        const { value } = this.#value;
        this.#value = undefined;
        yield value;
      } else if (this.#ended) {
        return;
      } else {
        const changed = new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        await orAborted(changed, signal);
      }
    }
  }
}
