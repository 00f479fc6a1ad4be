/**
 * Taking contexts away: by request, by time, or to make room for a new build of the same.
 *
 * Order matters: the build first (nobody writes any more), then the copies in decode workers, then
 * the record, then the catalogue's entry. A failure in between leaves the context DELETING, and the
 * same call again goes on from the start; every step is idempotent. Deletions that a gateway left
 * unfinished when it died are taken up by the sweep of any gateway.
 *
 * Time takes a context only after the store was asked: what somebody changed of it counts, also when
 * the catalogue has not heard of it.
 *
 * Of several gateways one at a time works on a context, under a lease. A record's manifest goes
 * first; its parts stay until nobody reads them, or those who said so must be taken for dead.
 *
 * @module
 */
import { type Leases, waitForLease, waitForReaders } from "@kvault/cluster";
import { orAborted } from "@kvault/core";
import { type BlobStore, deleteRecord, readAttributes } from "@kvault/kvstore";
import type { RpcLogger } from "@kvault/rpc";
import type { BuildQueue } from "../builds/build-job.ts";
import type { DecodePool } from "../workers/decode-pool.ts";
import { type ContextCatalogue, type ContextRecord, dueTimeMs } from "./context-catalogue.ts";

export interface RemoverDeps {
  readonly catalogue: ContextCatalogue;
  readonly queue: BuildQueue;
  readonly decode: DecodePool;
  readonly store: BlobStore;
  readonly leases: Leases;
  readonly log: RpcLogger;
}

/** How long an expired context answers CONTEXT_EXPIRED before it is not known any more. */
const TOMBSTONE_MS = 24 * 3_600_000;

/** A worker whose build was cancelled may be past the last point where it looks: what it still writes is cleared after this long. */
const LATE_WRITER_MS = 5_000;

const CLEAR_LEASE_MS = 30_000;
const CLEAR_WAIT_MS = 60_000;
/** Readers hold their lease for less. */
const READERS_WAIT_MS = 60_000;

export class Remover {
  readonly #deps: RemoverDeps;
  /** The last thing done, or being done, to each id: one at a time. */
  readonly #tails = new Map<string, Promise<void>>();
  readonly #removing = new Map<string, Promise<void>>();
  /** Starts of expired contexts whose record is gone. */
  readonly #cleared = new Set<string>();
  /** Contexts deleted while being built → when to look for a record that came late. */
  readonly #lateWriters = new Map<string, number>();

  constructor(deps: RemoverDeps) {
    this.#deps = deps;
  }

  /** Deletes a context whatever its state. Joins a deletion under way; one that began goes on when `signal` aborts the wait. */
  async remove(id: string, signal?: AbortSignal): Promise<void> {
    let removing = this.#removing.get(id);
    if (removing === undefined) {
      removing = this.#serially(id, () => this.#remove(id)).finally(() => this.#removing.delete(id));
      this.#removing.set(id, removing);
    }
    await orAborted(removing, signal);
  }

  /** Clears away what an earlier start of this context may have left, before it is built again. */
  async clear(id: string): Promise<void> {
    await this.#serially(id, () => this.#clear(id));
  }

  /**
   * Expires and purges what is due at `nowMs`, forgets what expired long ago, finishes deletions, and clears
   * away what cancelled builds wrote after their deletion. One failure does not stop the others.
   */
  async sweep(nowMs: number): Promise<void> {
    const { catalogue, log } = this.#deps;
    for (const record of await catalogue.due(nowMs)) {
      try {
        await this.#tend(record, nowMs);
      } catch (error) {
        log.warn({ contextId: record.id, err: error }, "context not cleared away yet");
      }
    }
    for (const [id, atMs] of this.#lateWriters) if (nowMs >= atMs) await this.#clearLate(id);
  }

  async #clearLate(id: string): Promise<void> {
    const { catalogue, log } = this.#deps;
    try {
      await this.#serially(id, async () => {
        // Created anew meanwhile: then the record is wanted.
        if ((await catalogue.get(id)) === undefined) await this.#clear(id);
      });
      this.#lateWriters.delete(id);
    } catch (error) {
      log.warn({ contextId: id, err: error }, "late record not cleared away yet");
    }
  }

  async #tend(record: ContextRecord, nowMs: number): Promise<void> {
    const { catalogue, log } = this.#deps;
    const { id, buildId, expireTimeMs, state } = record;
    if (state.type === "deleting") {
      await this.remove(id);
      return;
    }
    // Time takes nothing that says otherwise, whoever named it.
    if ((dueTimeMs(record) ?? Number.POSITIVE_INFINITY) > nowMs) return;
    if (state.type !== "expired" && (await this.#followStore(record))) return;
    if (state.type === "deleted") {
      if (!(await catalogue.change(record, { type: "deleting" }, record))) return;
      await this.remove(id);
      log.info({ contextId: id }, "deleted context purged");
      return;
    }
    if (state.type !== "expired") {
      if (!(await catalogue.change(record, { type: "expired" }, record))) return;
      log.info({ contextId: id }, "context expired");
    }
    const start = `${id} ${buildId}`;
    if (!this.#cleared.has(start)) {
      await this.#serially(id, async () => {
        const current = await catalogue.get(id);
        // Started over or deleted meanwhile: no longer ours.
        if (current?.buildId === buildId && current.state.type === "expired") await this.#clear(id);
      });
      this.#cleared.add(start);
    }
    if (nowMs < expireTimeMs + TOMBSTONE_MS) return;
    if ((await catalogue.get(id))?.state.type === "expired") await catalogue.remove(record);
    this.#cleared.delete(start);
  }

  /** True when the store has later attributes than the record; the catalogue then has them too. */
  async #followStore(record: ContextRecord): Promise<boolean> {
    const { catalogue, store } = this.#deps;
    const stored = await readAttributes(store, record.id, record.createTimeMs);
    if (stored === undefined || stored.revision <= record.revision) return false;
    await catalogue.amend(record, stored);
    return true;
  }

  /** Runs `work` after everything that was asked for this id before, here or by another gateway. */
  #serially(id: string, work: () => Promise<void>): Promise<void> {
    const before = this.#tails.get(id) ?? Promise.resolve();
    const after = before.catch(() => undefined).then(() => this.#alone(id, work));
    this.#tails.set(id, after);
    const forget = (): void => {
      if (this.#tails.get(id) === after) this.#tails.delete(id);
    };
    after.then(forget, forget);
    return after;
  }

  async #alone(id: string, work: () => Promise<void>): Promise<void> {
    const lease = await waitForLease(this.#deps.leases, `clear.${id}`, { ttlMs: CLEAR_LEASE_MS, waitMs: CLEAR_WAIT_MS });
    try {
      await work();
    } finally {
      await lease.release();
    }
  }

  async #clear(id: string): Promise<void> {
    const { decode, leases, store, log } = this.#deps;
    await decode.evict(id);
    await deleteRecord(store, id, {
      beforeParts: async () => {
        const free = await waitForReaders(leases, id, READERS_WAIT_MS);
        if (!free) log.warn({ contextId: id }, "readers of a deleted context not waited for any longer");
      },
    });
  }

  async #remove(id: string): Promise<void> {
    const { catalogue, queue } = this.#deps;
    const record = await catalogue.get(id);
    if (record === undefined) return;
    await catalogue.change(record, { type: "deleting" });
    const wasBuilding = await queue.cancel(record.digest);
    if (wasBuilding) this.#lateWriters.set(id, Date.now() + LATE_WRITER_MS);
    await this.#clear(id);
    await catalogue.remove(record);
  }
}
