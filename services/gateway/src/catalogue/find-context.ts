/**
 * From an id to a context that can be used, or the reason why not.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { type CompressionReport, Progress_Phase } from "@kvault/rpc";
import { type ContextRecord, dueTimeMs } from "./context-catalogue.ts";
import { contextName } from "./context-message.ts";
import type { TenantCatalogue } from "./tenant-catalogue.ts";

/** Failures that say more than CONTEXT_FAILED does: a record that was there and cannot be served. */
const RECORD_UNUSABLE = new Set(["CACHE_CORRUPT", "INCOMPATIBLE_MODEL", "INCOMPATIBLE_FORMAT"]);

/** The record of `id`, in any state a client may see. CONTEXT_NOT_FOUND, CONTEXT_EXPIRED. */
export async function findContext(catalogue: Pick<TenantCatalogue, "get">, id: string): Promise<ContextRecord> {
  const record = await catalogue.get(id);
  if (record === undefined) throw contextNotFound(id);
  if (isExpired(record, Date.now())) {
    const expireTime = new Date(record.expireTimeMs).toISOString();
    throw new KvaultError("CONTEXT_EXPIRED", `Cannot use context "${contextName(id)}": it expired at ${expireTime}`, {
      details: { context: contextName(id), expireTime },
    });
  }
  return record;
}

/** An ACTIVE context. Also CONTEXT_NOT_READY with progress, CONTEXT_FAILED with the reason, CONTEXT_DELETED. */
export async function findActive(
  catalogue: Pick<TenantCatalogue, "get">,
  id: string,
): Promise<ContextRecord & { readonly state: { readonly type: "active"; readonly report: CompressionReport } }> {
  const record = await findContext(catalogue, id);
  const { state } = record;
  const context = contextName(id);
  switch (state.type) {
    case "active":
      return { ...record, state };
    case "creating": {
      const { phase, done, total } = state.progress;
      const phaseName = Progress_Phase[phase] ?? "UNSPECIFIED";
      const howFar = total === 0 ? phaseName : `${phaseName} ${done} of ${total}`;
      throw new KvaultError("CONTEXT_NOT_READY", `Cannot query context "${context}": still being built, ${howFar}`, {
        details: { context, phase: phaseName, done, total },
      });
    }
    case "failed":
      if (RECORD_UNUSABLE.has(state.error.code)) throw state.error;
      throw new KvaultError("CONTEXT_FAILED", `Cannot query context "${context}": its build failed with ${state.error.code}`, {
        details: { context, reason: state.error.code },
      });
    case "deleted":
      throw contextDeleted(record);
    default:
      throw contextNotFound(id);
  }
}

/** Whether time has taken it, noticed or not. */
export function isExpired(record: ContextRecord, nowMs: number): boolean {
  const { type } = record.state;
  if (type === "deleting" || type === "deleted") return false;
  return type === "expired" || (dueTimeMs(record) ?? Number.POSITIVE_INFINITY) <= nowMs;
}

export function contextDeleted({ id, purgeTimeMs }: ContextRecord): KvaultError {
  const context = contextName(id);
  const purgeTime = new Date(purgeTimeMs).toISOString();
  return new KvaultError(
    "CONTEXT_DELETED",
    `Cannot use context "${context}": it is deleted, and can be undeleted until ${purgeTime}`,
    {
      details: { context, purgeTime },
    },
  );
}

export function contextNotFound(id: string): KvaultError {
  const context = contextName(id);
  return new KvaultError("CONTEXT_NOT_FOUND", `Cannot find context "${context}"`, { details: { context } });
}
