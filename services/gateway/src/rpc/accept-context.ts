/**
 * A checked request → a context: found when it is there, started when it is not.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { invalidArgument, isKvaultError, KvaultError, sha256Hex } from "@kvault/core";
import { putAttributes, takeRequestId } from "@kvault/kvstore";
import { type CreateContextRequest, type Operation, Progress_Phase, type ServerCall } from "@kvault/rpc";
import { annotate } from "@kvault/telemetry";
import type { BuildJob } from "../builds/build-job.ts";
import { creating } from "../builds/builder.ts";
import { changeContext } from "../catalogue/change-context.ts";
import { attributesOf, type ContextRecord, firstAttributes } from "../catalogue/context-catalogue.ts";
import { operationMessage } from "../catalogue/context-message.ts";
import { isExpired } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { expectedTokens } from "../telemetry/backlog.ts";
import { contentBytes } from "../validation/content.ts";

/** A context that is being deleted is waited for, then started anew; at most so often. */
const MAX_TRIES = 3;

/** How a context is asked for, beside what it is made of. */
export type AcceptOptions = Pick<CreateContextRequest, "validateOnly" | "pinned" | "refreshOnUse" | "requestId">;

/**
 * The operation of the context's build. A context that exists keeps its labels and its expiry; one
 * that was deleted and is still there comes back with those of the request.
 */
export async function acceptContext(
  plan: Omit<BuildJob, "buildId">,
  { validateOnly, pinned, refreshOnUse, requestId }: AcceptOptions,
  deps: GatewayDeps,
  call: ServerCall,
): Promise<Operation> {
  const buildId = randomUUID();
  const { contextId: id, content: _, contentSha256: __, ...rest } = plan;
  const first = firstAttributes(plan);
  // A record's manifest does not tell of these: they are its first change.
  const attributes = pinned || refreshOnUse ? { ...first, pinned, refreshOnUse, revision: 1 } : first;
  const fresh: ContextRecord = {
    ...rest,
    ...attributes,
    id,
    buildId,
    state: creating({ phase: Progress_Phase.QUEUED, total: expectedTokens(contentBytes(plan.content)) }),
  };
  deps.recent.note(call, { contextId: id, model: plan.model });
  annotate({ "kvault.context.id": id, "gen_ai.request.model": plan.model });
  if (validateOnly) return operationMessage((await deps.catalogue.get(id)) ?? fresh);

  const isFirst = requestId === "" || (await takeRequest(requestId, fresh, deps));
  for (let attempt = 0; attempt < MAX_TRIES; attempt++) {
    const existing = await deps.catalogue.get(id);
    if (existing !== undefined && isExpired(existing, Date.now())) {
      await deps.catalogue.change(existing, { type: "expired" }, existing);
    }
    const { record, created, startedOver } = await deps.catalogue.begin(fresh);
    if (created) {
      await startBuild(fresh, { ...plan, buildId }, startedOver, deps);
      call.log.info({ requestId: call.requestId, contextId: id, buildId, model: plan.model }, "context accepted");
      return operationMessage((await deps.catalogue.get(id)) ?? fresh);
    }
    if (record.state.type === "deleted" && isFirst) {
      const { createTimeMs, expireTimeMs } = plan;
      const ttlMs = expireTimeMs === 0 ? 0 : expireTimeMs - createTimeMs;
      const { displayName, labels } = plan;
      const asked = { displayName, labels, expireTimeMs, ttlMs, pinned, refreshOnUse, deleteTimeMs: 0, purgeTimeMs: 0 };
      const back = await changeContext(deps, id, ({ state }) => (state.type === "deleted" ? asked : undefined));
      if (back.state.type === "active") return operationMessage(back);
    } else if (record.state.type !== "deleting" && record.state.type !== "expired") {
      return operationMessage(record);
    }
    if (record.state.type === "deleting") await deps.remover.remove(id, call.signal);
  }
  throw new KvaultError("NO_CAPACITY", `Cannot create context "${id}": it is being deleted again and again`, {
    details: { contextId: id },
  });
}

/** True when this is the first request with its id. REQUEST_ID_REUSED when it was another one. */
function takeRequest(requestId: string, record: ContextRecord, { store, owner }: GatewayDeps): Promise<boolean> {
  if (!/^[\x21-\x7e]{1,128}$/.test(requestId)) {
    throw invalidArgument("request_id", "Cannot use the request id: must be 1 to 128 printable ASCII characters without spaces");
  }
  const { id, displayName, labels, ttlMs, pinned, refreshOnUse } = record;
  const sorted = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  const fingerprint = sha256Hex(JSON.stringify([id, displayName, sorted, ttlMs, pinned, refreshOnUse]));
  return takeRequestId(store, owner.tenant, requestId, fingerprint);
}

async function startBuild(record: ContextRecord, job: BuildJob, startedOver: boolean, deps: GatewayDeps): Promise<void> {
  try {
    if (startedOver) await deps.remover.clear(record.id);
    if (record.revision > 0) {
      await putAttributes(deps.store, record.id, attributesOf(record)).catch((error: unknown) => {
        // Somebody has seen the context and changed it already, these included.
        if (!isKvaultError(error, "STORE_EXISTS")) throw error;
      });
    }
    const current = await deps.catalogue.get(record.id);
    // Deleted while it was being cleared: the deletion stands.
    if (current?.buildId === record.buildId && current.state.type === "creating") await deps.builder.submit(record, job);
  } catch (error) {
    await deps.catalogue.remove(record);
    throw error;
  }
}
