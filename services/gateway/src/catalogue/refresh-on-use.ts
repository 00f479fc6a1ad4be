/**
 * Contexts whose expiry moves on with every use.
 *
 * Not every use is written: only one that gains at least a tenth of the lifetime, so a context is
 * written at most ten times in it, however often it is asked. Queries do not wait for it.
 *
 * @module
 */
import type { RpcLogger } from "@kvault/rpc";
import { type ChangeDeps, changeContext } from "./change-context.ts";
import type { ContextRecord } from "./context-catalogue.ts";

/** Part of the lifetime that a refresh must gain. */
const LEAST_GAIN = 0.1;
/** A refresh that failed is not tried again for so long. */
const PAUSE_MS = 1_000;

export class RefreshOnUse {
  readonly #deps: ChangeDeps;
  readonly #log: RpcLogger;
  readonly #running = new Map<string, Promise<void>>();
  /** Contexts whose refresh failed → when to try again. */
  readonly #paused = new Map<string, number>();

  constructor(deps: ChangeDeps, log: RpcLogger) {
    this.#deps = deps;
    this.#log = log;
  }

  /** Tells of a use at `nowMs`; never throws, returns at once. */
  used(record: ContextRecord, nowMs: number): void {
    const { id } = record;
    if (!gains(record, nowMs) || this.#running.has(id) || (this.#paused.get(id) ?? 0) > nowMs) return;
    const running = this.#refresh(id, nowMs).finally(() => this.#running.delete(id));
    this.#running.set(id, running);
  }

  /** Resolves when nothing is being written any more. */
  async settle(): Promise<void> {
    await Promise.all(this.#running.values());
  }

  async #refresh(id: string, nowMs: number): Promise<void> {
    try {
      await changeContext(this.#deps, id, (record) =>
        gains(record, nowMs) ? { expireTimeMs: nowMs + record.ttlMs } : undefined,
      );
      this.#paused.delete(id);
    } catch (error) {
      for (const [other, untilMs] of this.#paused) if (untilMs <= nowMs) this.#paused.delete(other);
      this.#paused.set(id, nowMs + PAUSE_MS);
      this.#log.warn({ contextId: id, err: error }, "expiry not refreshed");
    }
  }
}

function gains({ state, refreshOnUse, ttlMs, expireTimeMs }: ContextRecord, nowMs: number): boolean {
  return state.type === "active" && refreshOnUse && nowMs + ttlMs - expireTimeMs >= ttlMs * LEAST_GAIN;
}
