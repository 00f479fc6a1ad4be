/**
 * Prefill workers: one build at a time each; a build waits for a free and live one.
 *
 * @module
 */
import { setTimeout as sleep } from "node:timers/promises";
import { isKvaultError, KvaultError, throwIfAborted } from "@kvault/core";
import type { BuildRequestSchema, CompressionReport, MessageInitShape, Progress } from "@kvault/rpc";
import { type WorkerAccess, type WorkerLink, WorkerSet } from "./worker-link.ts";

/** How long a build waits for a worker before its attempt fails. */
const WORKER_WAIT_MS = 60_000;
/** How often a waiting build looks again. */
const LOOK_AGAIN_MS = 250;

export interface BuildCall {
  readonly signal: AbortSignal;
  readonly requestId: string;
  onProgress(progress: Progress): void;
}

export class PrefillPool {
  readonly #workers: WorkerSet;
  readonly #busy = new Set<WorkerLink>();

  constructor(addresses: readonly string[], access?: WorkerAccess) {
    this.#workers = new WorkerSet(addresses, { access });
  }

  /** Builds that may run at the same time. */
  get size(): number {
    return this.#workers.links.length;
  }

  async beat(): Promise<void> {
    await this.#workers.beat();
  }

  /** From now on these are the workers. */
  async setAddresses(addresses: readonly string[]): Promise<void> {
    await this.#workers.setAddresses(addresses);
  }

  /** All of them, live or not. */
  get links(): readonly WorkerLink[] {
    return this.#workers.links;
  }

  /** Runs one build; resolves with its report once the manifest is committed. */
  async build(request: MessageInitShape<typeof BuildRequestSchema>, call: BuildCall): Promise<CompressionReport> {
    const link = await this.#acquire(call.signal);
    try {
      for await (const { event } of link.client.build(request, { signal: call.signal, requestId: call.requestId })) {
        if (event.case === "progress") call.onProgress(event.value);
        else if (event.case === "report") return event.value;
      }
      throw new KvaultError("UNREACHABLE", "Cannot finish the build: the worker ended it without a report", {
        details: { worker: link.address },
      });
    } catch (error) {
      if (isKvaultError(error, "UNREACHABLE", "DRAINING")) await link.beat();
      throw error;
    } finally {
      this.#busy.delete(link);
    }
  }

  close(): void {
    this.#workers.close();
  }

  async #acquire(signal: AbortSignal): Promise<WorkerLink> {
    const giveUpMs = Date.now() + WORKER_WAIT_MS;
    while (true) {
      const live = await this.#workers.liveNow();
      throwIfAborted(signal);
      const free = live.find((link) => !this.#busy.has(link));
      if (free !== undefined) {
        this.#busy.add(free);
        return free;
      }
      if (Date.now() >= giveUpMs) {
        const what = live.length === 0 ? "no prefill worker answers" : "all prefill workers are busy";
        throw new KvaultError("NO_CAPACITY", `Cannot build the context: ${what}`, {
          details: { workers: this.size, live: live.length },
        });
      }
      await sleep(LOOK_AGAIN_MS, undefined, { signal }).catch(() => undefined);
      throwIfAborted(signal);
    }
  }
}
