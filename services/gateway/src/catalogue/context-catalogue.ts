/**
 * The contract of every catalogue: which contexts there are and what state each is in.
 *
 * A state machine per context; `change` takes only the arrows below and tells whether it did, so
 * that late news (progress of a build that was deleted) change nothing:
 *
 *   creating → creating (progress) | active | failed | deleting
 *   active   → failed (its record proved unusable) | expired | deleting
 *   failed   → expired | deleting      expired → deleting      deleted → deleting
 *   deleting → deleting (another try)
 *
 * `begin` starts a context that is not there, and starts over one that failed or expired. Every
 * start has a `buildId`; news of an earlier start are late news.
 *
 * What a client may change of a context (names, lifetime, pin, deletion) is written to the store
 * first, revision by revision (kvstore's attributes.ts), and `amend` follows it: to a later
 * revision only, so news that come twice or late change nothing. It moves between active and
 * deleted as the attributes say.
 *
 * @module
 */
import type { KvaultError } from "@kvault/core";
import type { ContextAttributes } from "@kvault/kvstore";
import type { CompressionReport, Progress } from "@kvault/rpc";

export type ContextState =
  | { readonly type: "creating"; readonly progress: Progress }
  | { readonly type: "active"; readonly report: CompressionReport }
  | { readonly type: "failed"; readonly error: KvaultError }
  | { readonly type: "expired" }
  /** Out of use; its record is there until `purgeTimeMs`. */
  | { readonly type: "deleted"; readonly report: CompressionReport }
  | { readonly type: "deleting" };

export interface ContextRecord extends ContextAttributes {
  readonly id: string;
  /** Owner: nobody else finds it (tenant-catalogue.ts). */
  readonly tenant: string;
  readonly digest: string;
  /** Catalogue name. */
  readonly model: string;
  /** Full spec, keep ratio included. */
  readonly spec: string;
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
  /** Those in these states; all but the expired and the deleted when absent. */
  readonly states?: ReadonlySet<ContextState["type"]>;
  /** Those that have all of these. */
  readonly labels?: Readonly<Record<string, string>>;
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
  /** At most `limit` records of `tenant` (of all when absent) after `after`, oldest first. */
  list(options: ListOptions): Promise<readonly ContextRecord[]>;
  /** True when the arrow was allowed, and `buildId` and (where given) `revision` are the record's. */
  change(
    record: Pick<ContextRecord, "id" | "buildId">,
    state: ContextState,
    expected?: { readonly revision: number },
  ): Promise<boolean>;
  /** The record with these attributes; undefined when it has later ones, is of another start, or cannot have them. */
  amend(record: Pick<ContextRecord, "id" | "buildId">, attributes: ContextAttributes): Promise<ContextRecord | undefined>;
  /** Forgets the record; its watchers end. True when it was there with that `buildId`. */
  remove(record: Pick<ContextRecord, "id" | "buildId">): Promise<boolean>;
  /**
   * The record now, then after every change; a slow watcher skips to the newest. Ends when the
   * record is removed, at once when there is none.
   */
  watch(id: string, options?: { readonly signal?: AbortSignal }): AsyncIterable<ContextRecord>;
  /** Records whose time has come at `nowMs` ({@link dueTimeMs}), and all that are being deleted. */
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
  deleted: ["deleting"],
  deleting: ["deleting"],
};

/** States that lists leave out unless they are asked for. */
const UNLISTED: ReadonlySet<ContextState["type"]> = new Set(["expired", "deleted"]);

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

/** Whether a listing with these options has the record in it, were there no end to a page. */
export function isListed(record: ContextRecord, { tenant, states, labels = {} }: Omit<ListOptions, "limit">): boolean {
  const { type } = record.state;
  if (tenant !== undefined && record.tenant !== tenant) return false;
  if (states === undefined ? UNLISTED.has(type) : !states.has(type)) return false;
  return Object.entries(labels).every(([key, value]) => Object.hasOwn(record.labels, key) && record.labels[key] === value);
}

/** When time takes a record out of its state; undefined: never. */
export function dueTimeMs({ state, pinned, expireTimeMs, purgeTimeMs }: ContextRecord): number | undefined {
  if (state.type === "deleting") return 0;
  if (state.type === "deleted") return purgeTimeMs;
  if (state.type === "creating" || (state.type === "active" && pinned) || expireTimeMs === 0) return undefined;
  return expireTimeMs;
}

/** What `amend` makes of a record; undefined when it may not. */
export function amended(record: ContextRecord, attributes: ContextAttributes): ContextRecord | undefined {
  if (attributes.createTimeMs !== record.createTimeMs || attributes.revision <= record.revision) return undefined;
  const state = amendedState(record.state, attributes.purgeTimeMs !== 0);
  return state && { ...record, ...attributes, state };
}

function amendedState(state: ContextState, deleted: boolean): ContextState | undefined {
  switch (state.type) {
    case "active":
    case "deleted":
      return { type: deleted ? "deleted" : "active", report: state.report };
    case "creating":
    case "failed":
      return deleted ? undefined : state;
    default:
      return undefined;
  }
}

/** What may change of a record, as it is. */
export function attributesOf(record: ContextAttributes): ContextAttributes {
  const { revision, createTimeMs, updateTimeMs, displayName, labels, expireTimeMs, ttlMs } = record;
  const { refreshOnUse, pinned, deleteTimeMs, purgeTimeMs } = record;
  return {
    ...{ revision, createTimeMs, updateTimeMs, displayName, labels, expireTimeMs, ttlMs },
    ...{ refreshOnUse, pinned, deleteTimeMs, purgeTimeMs },
  };
}

/** The attributes of a context that nobody has changed yet. */
export function firstAttributes(
  given: Pick<ContextAttributes, "createTimeMs" | "displayName" | "labels" | "expireTimeMs">,
): ContextAttributes {
  const { createTimeMs, displayName, labels, expireTimeMs } = given;
  return {
    ...{ createTimeMs, displayName, labels, expireTimeMs },
    revision: 0,
    updateTimeMs: createTimeMs,
    ttlMs: expireTimeMs === 0 ? 0 : Math.max(0, expireTimeMs - createTimeMs),
    refreshOnUse: false,
    pinned: false,
    deleteTimeMs: 0,
    purgeTimeMs: 0,
  };
}
