/**
 * Catalogue records as the API shows them: Context and Operation.
 *
 * @module
 */
import {
  anyPack,
  type Context,
  Context_State,
  ContextSchema,
  CreateContextMetadataSchema,
  create,
  durationFromMs,
  type Operation,
  OperationSchema,
  timestampFromMs,
  toRpcStatus,
} from "@kvault/rpc";
import type { ContextRecord, ContextState } from "./context-catalogue.ts";

const STATE: Readonly<Record<ContextState["type"], Context_State>> = {
  creating: Context_State.CREATING,
  active: Context_State.ACTIVE,
  failed: Context_State.FAILED,
  expired: Context_State.DELETING,
  deleting: Context_State.DELETING,
  deleted: Context_State.DELETED,
};

export function contextName(id: string): string {
  return `contexts/${id}`;
}

function operationName(id: string): string {
  return `operations/${id}`;
}

/** Another one after every change that a client can make. */
export function etagOf({ createTimeMs, revision }: ContextRecord): string {
  return `${createTimeMs.toString(36)}-${revision.toString(36)}`;
}

export function contextMessage(record: ContextRecord): Context {
  const { state } = record;
  return create(ContextSchema, {
    name: contextName(record.id),
    state: STATE[state.type],
    model: record.model,
    displayName: record.displayName,
    labels: record.labels,
    spec: record.spec,
    digest: record.digest,
    createTime: timestampFromMs(record.createTimeMs),
    ...(record.expireTimeMs === 0 ? {} : { expireTime: timestampFromMs(record.expireTimeMs) }),
    ...(state.type === "creating" ? { progress: state.progress } : {}),
    ...(state.type === "active" || state.type === "deleted" ? { report: state.report } : {}),
    ...(state.type === "failed" ? { error: toRpcStatus(state.error, record.buildId) } : {}),
    ...(record.ttlMs === 0 ? {} : { ttl: durationFromMs(record.ttlMs) }),
    refreshOnUse: record.refreshOnUse,
    pinned: record.pinned,
    etag: etagOf(record),
    updateTime: timestampFromMs(record.updateTimeMs),
    ...(state.type === "deleted"
      ? { deleteTime: timestampFromMs(record.deleteTimeMs), purgeTime: timestampFromMs(record.purgeTimeMs) }
      : {}),
  });
}

/** The operation of a context's latest build: not done while CREATING, then the Context or its error. */
export function operationMessage(record: ContextRecord): Operation {
  const { state } = record;
  const progress = state.type === "creating" ? { progress: state.progress } : {};
  const metadata = create(CreateContextMetadataSchema, { context: contextName(record.id), ...progress });
  const base = { name: operationName(record.id), metadata: anyPack(CreateContextMetadataSchema, metadata) };
  if (state.type === "creating") return create(OperationSchema, { ...base, done: false });
  if (state.type === "failed") {
    return create(OperationSchema, {
      ...base,
      done: true,
      result: { case: "error", value: toRpcStatus(state.error, record.buildId) },
    });
  }
  const value = anyPack(ContextSchema, contextMessage(record));
  return create(OperationSchema, { ...base, done: true, result: { case: "response", value } });
}
