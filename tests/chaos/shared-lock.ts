/** Many may hold it together, or one alone; who asks for it alone is not overtaken. @module */
export class SharedLock {
  #shared = 0;
  #alone = false;
  readonly #waiting: { readonly alone: boolean; readonly go: () => void }[] = [];

  /** Runs `work` beside others that share. */
  share<T>(work: () => Promise<T>): Promise<T> {
    return this.#hold(false, work);
  }

  /** Runs `work` while nobody else holds the lock. */
  alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#hold(true, work);
  }

  async #hold<T>(alone: boolean, work: () => Promise<T>): Promise<T> {
    await new Promise<void>((go) => {
      this.#waiting.push({ alone, go });
      this.#next();
    });
    try {
      return await work();
    } finally {
      if (alone) this.#alone = false;
      else this.#shared--;
      this.#next();
    }
  }

  #next(): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (this.#alone || (first.alone && this.#shared > 0)) return;
      this.#waiting.shift();
      if (first.alone) this.#alone = true;
      else this.#shared++;
      first.go();
    }
  }
}
