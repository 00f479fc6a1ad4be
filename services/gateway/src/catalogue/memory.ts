/**
 * The catalogue in this process: for one gateway, rebuilt from the store's manifests at start.
 *
 * @module
 */
import { Latest } from "@kvault/core";
import type { ContextAttributes } from "@kvault/kvstore";
import {
  amended,
  type BeginResult,
  type ContextCatalogue,
  type ContextRecord,
  type ContextState,
  comparePositions,
  dueTimeMs,
  isListed,
  type ListOptions,
  mayChange,
  mayStartOver,
} from "./context-catalogue.ts";

export class MemoryCatalogue implements ContextCatalogue {
  readonly #records = new Map<string, ContextRecord>();
  readonly #watchers = new Map<string, Set<Latest<ContextRecord>>>();
  #whole = false;
  #closed = false;

  async begin(record: ContextRecord): Promise<BeginResult> {
    const found = this.#records.get(record.id);
    if (found !== undefined && !mayStartOver(found.state)) return { record: found, created: false, startedOver: false };
    this.#put(record);
    return { record, created: true, startedOver: found !== undefined };
  }

  async get(id: string): Promise<ContextRecord | undefined> {
    return this.#records.get(id);
  }

  async list({ limit, after, ...which }: ListOptions): Promise<readonly ContextRecord[]> {
    return [...this.#records.values()]
      .filter((record) => isListed(record, which) && (after === undefined || comparePositions(record, after) > 0))
      .sort(comparePositions)
      .slice(0, limit);
  }

  async change(
    { id, buildId }: Pick<ContextRecord, "id" | "buildId">,
    state: ContextState,
    expected?: { readonly revision: number },
  ): Promise<boolean> {
    const found = this.#records.get(id);
    if (found === undefined || found.buildId !== buildId || !mayChange(found.state, state)) return false;
    if (expected !== undefined && expected.revision !== found.revision) return false;
    this.#put({ ...found, state });
    return true;
  }

  async amend(
    { id, buildId }: Pick<ContextRecord, "id" | "buildId">,
    attributes: ContextAttributes,
  ): Promise<ContextRecord | undefined> {
    const found = this.#records.get(id);
    if (found === undefined || found.buildId !== buildId) return undefined;
    const record = amended(found, attributes);
    if (record !== undefined) this.#put(record);
    return record;
  }

  async remove({ id, buildId }: Pick<ContextRecord, "id" | "buildId">): Promise<boolean> {
    if (this.#records.get(id)?.buildId !== buildId) return false;
    this.#records.delete(id);
    for (const watcher of this.#watchers.get(id) ?? []) watcher.end();
    return true;
  }

  async *watch(id: string, options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<ContextRecord> {
    const record = this.#records.get(id);
    if (record === undefined || this.#closed) return;
    const watcher = new Latest<ContextRecord>();
    watcher.put(record);
    const watchers = this.#watchers.get(id) ?? new Set();
    this.#watchers.set(id, watchers.add(watcher));
    try {
      yield* watcher.read(options.signal);
    } finally {
      watchers.delete(watcher);
      if (watchers.size === 0) this.#watchers.delete(id);
    }
  }

  async due(nowMs: number): Promise<readonly ContextRecord[]> {
    return [...this.#records.values()].filter((record) => (dueTimeMs(record) ?? Number.POSITIVE_INFINITY) <= nowMs);
  }

  async building(): Promise<readonly ContextRecord[]> {
    return [...this.#records.values()].filter(({ state }) => state.type === "creating");
  }

  async isWhole(): Promise<boolean> {
    return this.#whole;
  }

  async markWhole(): Promise<void> {
    this.#whole = true;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const watchers of this.#watchers.values()) for (const watcher of watchers) watcher.end();
  }

  #put(record: ContextRecord): void {
    this.#records.set(record.id, record);
    for (const watcher of this.#watchers.get(record.id) ?? []) watcher.put(record);
  }
}
