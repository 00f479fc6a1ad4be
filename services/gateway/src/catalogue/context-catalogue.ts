/**
 * The contract of every catalogue: which contexts there are and what state each is in.
 *
 * A state machine per context; `change` takes only the arrows below and tells whether it did, so
 * that late news (progress of a build that was deleted) change nothing:
 *
 *   creating → creating (progress) | active | failed | deleting
 *   active   → failed (its record proved unusable) | expired | deleting
 *   failed   → expired | deleting      expired → deleting
 *   deleting → deleting (another try)
 *
 * `begin` starts a context that is not there, and starts over one that failed or expired. Every
 * start has a `buildId`; news of an earlier start are late news.
 *
 * @module
 */
import type { KvaultError } from "@kvault/core";
import type { CompressionReport, Progress } from "@kvault/rpc";

export type ContextState =
  | { readonly type: "creating"; readonly progress: Progress }
  | { readonly type: "active"; readonly report: CompressionReport }
  | { readonly type: "failed"; readonly error: KvaultError }
  | { readonly type: "expired" }
  | { readonly type: "deleting" };

export interface ContextRecord {
  readonly id: string;
  /** Owner: nobody else finds it (tenant-catalogue.ts). */
  readonly tenant: string;
  readonly digest: string;
  /** Catalogue name. */
  readonly model: string;
  /** Full spec, keep ratio included. */
  readonly spec: string;
  readonly displayName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createTimeMs: number;
  /** 0: never. */
  readonly expireTimeMs: number;
  /** New at every start; empty for records found in the store. */
  readonly buildId: string;
  readonly state: ContextState;
}

/** Place in the listing order: by creation time, then id. */
export interface ListPosition {
  readonly createTimeMs: number;
  readonly id: string;
}

export interface ListOptions {
  readonly limit: number;
  readonly after?: ListPosition;
  readonly tenant?: string;
}

export interface BeginResult {
  /** The record given, or the one that was there. */
  readonly record: ContextRecord;
  readonly created: boolean;
  /** True when a failed or expired context was started over. */
  readonly startedOver: boolean;
}

export interface ContextCatalogue {
  /** Atomic: of many callers with one id, exactly one gets `created: true`; the others get its record. */
  begin(record: ContextRecord): Promise<BeginResult>;
  get(id: string): Promise<ContextRecord | undefined>;
  /** At most `limit` records of `tenant` (of all when absent) after `after`, oldest first; expired ones left out. */
  list(options: ListOptions): Promise<readonly ContextRecord[]>;
  /** True when the arrow was allowed and `buildId` is the record's. */
  change(record: Pick<ContextRecord, "id" | "buildId">, state: ContextState): Promise<boolean>;
  /** Forgets the record; its watchers end. True when it was there with that `buildId`. */
  remove(record: Pick<ContextRecord, "id" | "buildId">): Promise<boolean>;
  /**
   * The record now, then after every change; a slow watcher skips to the newest. Ends when the
   * record is removed, at once when there is none.
   */
  watch(id: string, options?: { readonly signal?: AbortSignal }): AsyncIterable<ContextRecord>;
  /** Records whose time has come at `nowMs` (active, failed or expired), and all that are being deleted. */
  due(nowMs: number): Promise<readonly ContextRecord[]>;
  /** Records that are CREATING. */
  building(): Promise<readonly ContextRecord[]>;
  /** False when the store's records were never put in, or the catalogue was lost since. */
  isWhole(): Promise<boolean>;
  markWhole(): Promise<void>;
  /** Ends all watchers. Idempotent. */
  close(): Promise<void>;
}

const ARROWS: Readonly<Record<ContextState["type"], readonly ContextState["type"][]>> = {
  creating: ["creating", "active", "failed", "deleting"],
  active: ["failed", "expired", "deleting"],
  failed: ["expired", "deleting"],
  expired: ["deleting"],
  deleting: ["deleting"],
};

/** Whether the state machine has an arrow from one state to the other. */
export function mayChange(from: ContextState, to: ContextState): boolean {
  return ARROWS[from.type].includes(to.type);
}

/** Whether `begin` may start over a context in this state. */
export function mayStartOver(state: ContextState): boolean {
  return state.type === "failed" || state.type === "expired";
}

/** Negative, zero or positive, as in the listing. */
export function comparePositions(a: ListPosition, b: ListPosition): number {
  return a.createTimeMs - b.createTimeMs || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}
