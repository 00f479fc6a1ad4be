/**
 * Progress on its way to Redis: one write at a time, and what was reported meanwhile is written
 * as its newest only.
 *
 * @module
 */

export class ProgressWriter<Progress> {
  readonly #write: (progress: Progress) => Promise<unknown>;
  #next: { readonly progress: Progress } | undefined;
  #writing: Promise<void> | undefined;

  /** A failing `write` loses that progress, never the job. */
  constructor(write: (progress: Progress) => Promise<unknown>) {
    this.#write = write;
  }

  put(progress: Progress): void {
    this.#next = { progress };
    this.#writing ??= this.#writeAll();
  }

  /** Resolves once the newest is written. Never rejects. */
  async flush(): Promise<void> {
    await this.#writing;
  }

  async #writeAll(): Promise<void> {
    while (this.#next !== undefined) {
      const { progress } = this.#next;
      this.#next = undefined;
      await this.#write(progress).catch(() => undefined);
    }
    this.#writing = undefined;
  }
}
