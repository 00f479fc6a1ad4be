/**
 * Models that are open: a few at most, since each holds its weights in memory. Opening is
 * shared by everybody who asks at the same time; the least recently used idle one makes room.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { ModelRunner } from "../model-runner.ts";
import { SingleFlight } from "./single-flight.ts";
import type { OpenModelOptions } from "./types.ts";

/** Fetches, verifies and opens a model of the catalogue. */
export type OpenModel = (model: string, options: OpenModelOptions) => Promise<ModelRunner>;

/** A model kept open until released. */
export interface ModelLease {
  readonly runner: ModelRunner;
  release(): void;
}

interface OpenedModel {
  readonly runner: ModelRunner;
  leases: number;
}

export class ModelCache {
  readonly #openModel: OpenModel;
  readonly #maxModels: number;
  /** Least recently used first. */
  readonly #opened = new Map<string, OpenedModel>();
  readonly #flights = new SingleFlight<void>();
  #closed = false;

  constructor(openModel: OpenModel, maxModels: number) {
    this.#openModel = openModel;
    this.#maxModels = maxModels;
  }

  get names(): string[] {
    return [...this.#opened.keys()];
  }

  /** Opens `model` if it is not. NO_CAPACITY when it would be one too many and all others are in use. */
  async acquire(model: string, options: OpenModelOptions = {}): Promise<ModelLease> {
    for (;;) {
      if (this.#closed) throw new KvaultError("CLOSED", `Cannot open model "${model}": the engine is closed`);
      const opened = this.#opened.get(model);
      if (opened !== undefined) return this.#lease(model, opened);
      await this.#flights.run(model, (signal) => this.#open(model, { ...options, signal }), options.signal);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const runners = [...this.#opened.values()].map(({ runner }) => runner);
    this.#opened.clear();
    await Promise.all(runners.map((runner) => runner.close()));
  }

  #lease(model: string, opened: OpenedModel): ModelLease {
    this.#opened.delete(model);
    this.#opened.set(model, opened);
    opened.leases++;
    let released = false;
    return {
      runner: opened.runner,
      release: () => {
        if (!released) opened.leases--;
        released = true;
      },
    };
  }

  async #open(model: string, options: OpenModelOptions): Promise<void> {
    await this.#makeRoom(model);
    const runner = await this.#openModel(model, options);
    if (this.#closed) {
      await runner.close();
      return;
    }
    this.#opened.set(model, { runner, leases: 0 });
  }

  async #makeRoom(model: string): Promise<void> {
    while (this.#opened.size >= this.#maxModels) {
      const idle = [...this.#opened].find(([, { leases }]) => leases === 0);
      if (idle === undefined) {
        throw new KvaultError("NO_CAPACITY", `Cannot open model "${model}": ${this.names.join(", ")} are in use`, {
          details: { model, maxModels: this.#maxModels },
        });
      }
      this.#opened.delete(idle[0]);
      await idle[1].runner.close();
    }
  }
}
