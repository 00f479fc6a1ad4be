/**
 * What a query does when its record cannot be had and the request brings the text: the text must
 * be the context's own, which follows from the context's name, so a recomputed answer is never one
 * to another text.
 *
 * @module
 */
import { invalidArgument, isKvaultError, type KvaultError } from "@kvault/core";
import { type CreateContextRequest, CreateContextRequestSchema, create, type OnMiss, type ServerCall } from "@kvault/rpc";
import type { BuildJob } from "../builds/build-job.ts";
import type { ContextRecord } from "../catalogue/context-catalogue.ts";
import { contextName } from "../catalogue/context-message.ts";
import type { GatewayDeps } from "../deps.ts";
import { readCreateRequest } from "../validation/create-request.ts";
import { acceptContext } from "./accept-context.ts";

/** A text that stands in for a record. */
export interface RecomputeText {
  readonly plan: Omit<BuildJob, "buildId">;
  /** Absent when the catalogue does not know the context, or does not answer. */
  readonly record: ContextRecord | undefined;
}

/** The record is not what it should be, and building it again would help. */
export function isLost(error: unknown): error is KvaultError {
  return isKvaultError(error, "CACHE_CORRUPT", "CONTEXT_NOT_FOUND", "INCOMPATIBLE_FORMAT");
}

/** The record cannot be had, for now or at all; whatever else fails a query would fail it again. */
export function isMiss(error: unknown): error is KvaultError {
  if (isLost(error)) return true;
  return isKvaultError(
    error,
    ...(["CONTEXT_EXPIRED", "CONTEXT_FAILED", "INCOMPATIBLE_MODEL"] as const),
    ...(["STORE_UNAVAILABLE", "STORE_NOT_FOUND", "STORE_FORBIDDEN"] as const),
  );
}

/** The text that the request brings, checked; undefined when it brings none. INVALID_ARGUMENT when it is not the context's. */
export async function readRecompute(
  id: string,
  onMiss: OnMiss | undefined,
  deps: GatewayDeps,
): Promise<RecomputeText | undefined> {
  if (onMiss?.action.case !== "recompute") return undefined;
  const { content, model, compression } = onMiss.action.value;
  const record = await deps.catalogue.get(id).catch((error: unknown) => {
    if (isKvaultError(error, "UNREACHABLE")) return undefined;
    throw error;
  });
  const request: CreateContextRequest = create(CreateContextRequestSchema, {
    model: model || (record?.model ?? ""),
    ...(content === undefined ? {} : { content }),
    compression: compression ?? { spec: record?.spec ?? "" },
  });
  const plan = readCreateRequest(request, deps);
  if (plan.contextId === id) return { plan, record };
  throw invalidArgument(
    "on_miss.recompute",
    `Cannot answer from this text: it makes "${contextName(plan.contextId)}", not "${contextName(id)}"`,
  );
}

/** Has a record that is lost or damaged built again, under its own names. Never rejects. */
export async function rebuildLost(
  { plan, record }: RecomputeText,
  error: KvaultError,
  deps: GatewayDeps,
  call: ServerCall,
): Promise<void> {
  if (record === undefined || record.state.type === "expired" || !isLost(error)) return;
  const { displayName, labels, pinned, refreshOnUse, ttlMs } = record;
  const expireTimeMs = refreshOnUse ? plan.createTimeMs + ttlMs : record.expireTimeMs;
  const options = { validateOnly: false, pinned, refreshOnUse, requestId: "" };
  try {
    await acceptContext({ ...plan, displayName, labels, expireTimeMs }, options, deps, call);
  } catch (failure) {
    call.log.warn({ requestId: call.requestId, contextId: record.id, err: failure }, "lost record not built again");
  }
}
