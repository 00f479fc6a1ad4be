/**
 * UpdateContextRequest → what changes: the mask says which fields, the context their values.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import type { Context, UpdateContextRequest } from "@kvault/rpc";
import { timestampMs } from "@kvault/rpc";
import type { ContextEdit } from "../catalogue/change-context.ts";
import type { ContextRecord } from "../catalogue/context-catalogue.ts";
import { checkNames, MAX_TTL_MS, readTtlMs } from "./create-request.ts";

/** Fields that may change, and whether a context has them set. */
const FIELDS = {
  display_name: ({ displayName }: Context) => displayName !== "",
  labels: ({ labels }: Context) => Object.keys(labels).length > 0,
  expire_time: ({ expireTime }: Context) => expireTime !== undefined,
  ttl: ({ ttl }: Context) => ttl !== undefined,
  pinned: ({ pinned }: Context) => pinned,
  refresh_on_use: ({ refreshOnUse }: Context) => refreshOnUse,
} as const;

type Field = keyof typeof FIELDS;

/** How to change a context, checked as far as can be told without it. INVALID_ARGUMENT naming the field. */
export function readUpdate(
  { context, updateMask }: UpdateContextRequest,
  nowMs: number,
): { readonly context: Context; edit(record: ContextRecord): ContextEdit } {
  if (context === undefined) throw invalidArgument("context", "Cannot change a context: none given");
  const fields = readMask(context, updateMask?.paths);
  if (fields.size === 0) throw invalidArgument("update_mask", "Cannot change the context: nothing to change is named");
  const has = (field: Field): boolean => fields.has(field);
  checkNames({ displayName: has("display_name") ? context.displayName : "", labels: has("labels") ? context.labels : {} });
  const lifetime = readLifetime(context, fields, nowMs);
  const names: ContextEdit = {
    ...(has("display_name") ? { displayName: context.displayName } : {}),
    ...(has("labels") ? { labels: { ...context.labels } } : {}),
    ...(has("pinned") ? { pinned: context.pinned } : {}),
    ...(has("refresh_on_use") ? { refreshOnUse: context.refreshOnUse } : {}),
    ...lifetime,
  };
  return {
    context,
    edit(record) {
      const { refreshOnUse, ttlMs } = { ...record, ...names };
      if (!refreshOnUse || ttlMs > 0) return names;
      // A lifetime that ends at a time, or never, has no length to be refreshed by.
      if (names.refreshOnUse === true) throw withoutTtl();
      return { ...names, refreshOnUse: false };
    },
  };
}

function withoutTtl(): Error {
  return invalidArgument("refresh_on_use", "Cannot refresh the expiry on use: the context has no ttl, set one with it");
}

function readMask(context: Context, paths: readonly string[] | undefined): ReadonlySet<Field> {
  const known = Object.keys(FIELDS) as Field[];
  if (paths === undefined) return new Set(known.filter((field) => FIELDS[field](context)));
  const all = paths.includes("*");
  // A time and a length cannot both be set: "*" takes the one that is given.
  if (all) return new Set(known.filter((field) => field !== (context.ttl === undefined ? "ttl" : "expire_time")));
  const unknown = paths.find((path) => !Object.hasOwn(FIELDS, path));
  if (unknown === undefined) return new Set(paths as Field[]);
  throw invalidArgument(
    "update_mask",
    `Cannot change "${unknown.slice(0, 80)}" of a context: can be changed are ${known.join(" ")}`,
  );
}

function readLifetime({ ttl, expireTime }: Context, fields: ReadonlySet<Field>, nowMs: number): ContextEdit {
  if (fields.has("ttl") && fields.has("expire_time")) {
    throw invalidArgument("update_mask", "Cannot set both ttl and expire_time: choose one");
  }
  if (fields.has("ttl")) {
    const ttlMs = readTtlMs(ttl);
    return { ttlMs, expireTimeMs: ttlMs === 0 ? 0 : nowMs + ttlMs };
  }
  if (!fields.has("expire_time")) return {};
  if (expireTime === undefined) return { ttlMs: 0, expireTimeMs: 0 };
  const expireTimeMs = Math.round(timestampMs(expireTime));
  if (expireTimeMs > nowMs && expireTimeMs <= nowMs + MAX_TTL_MS) return { ttlMs: 0, expireTimeMs };
  throw invalidArgument(
    "context.expire_time",
    `Cannot keep a context until then: must be later than now, by at most ${MAX_TTL_MS / 1000} s`,
  );
}
