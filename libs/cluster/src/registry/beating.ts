/**
 * A registration that beats until it is closed: one beat at a time, and failures are for the next.
 *
 * @module
 */
import type { Registration } from "./worker-registry.ts";

export class Beating implements Registration {
  readonly #send: () => Promise<void>;
  readonly #signOff: () => Promise<void>;
  readonly #timer: NodeJS.Timeout;
  #beating: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(beatMs: number, send: () => Promise<void>, signOff: () => Promise<void>) {
    this.#send = send;
    this.#signOff = signOff;
    this.#timer = setInterval(() => void this.beat(), beatMs);
    this.#timer.unref();
  }

  async beat(): Promise<void> {
    // One under way may have asked for the state before it changed.
    await this.#beating;
    if (this.#closing !== undefined) return;
    this.#beating ??= this.#send()
      .catch(() => undefined)
      .finally(() => {
        this.#beating = undefined;
      });
    await this.#beating;
  }

  close(): Promise<void> {
    clearInterval(this.#timer);
    this.#closing ??= (this.#beating ?? Promise.resolve()).then(() => this.#signOff().catch(() => undefined));
    return this.#closing;
  }
}
