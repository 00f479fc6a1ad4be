/**
 * Contexts.DeleteContext. A context that is ACTIVE goes out of use and keeps its record until its
 * purge time; any other, or with `purge`, is taken away: the answer then comes when build, copies,
 * record and entry are gone. A caller that leaves does not stop it.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import type { DeleteContextRequest, DeleteContextResponseSchema, MessageInitShape, ServerCall } from "@kvault/rpc";
import { changeContext } from "../catalogue/change-context.ts";
import type { ContextRecord } from "../catalogue/context-catalogue.ts";
import { contextMessage, contextName } from "../catalogue/context-message.ts";
import { contextNotFound, isExpired } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { checkEtag } from "../validation/etag.ts";
import { contextIdFrom } from "../validation/names.ts";

export const deleteContext =
  (deps: GatewayDeps) =>
  async (request: DeleteContextRequest, call: ServerCall): Promise<MessageInitShape<typeof DeleteContextResponseSchema>> => {
    const { catalogue, decode, remover, retentionMs } = deps;
    const id = contextIdFrom(request.name, "name");
    const found = await catalogue.get(id);
    if (found === undefined) throw contextNotFound(id);
    check(found, request);
    const log = (message: string): void => call.log.info({ requestId: call.requestId, contextId: id }, message);
    if (request.purge || retentionMs === 0 || !isKept(found)) {
      await remover.remove(id, call.signal);
      log("context deleted");
      return {};
    }
    const nowMs = Date.now();
    const record = await changeContext(deps, id, (current) => {
      check(current, request);
      if (current.state.type !== "active") return undefined;
      return { deleteTimeMs: nowMs, purgeTimeMs: nowMs + retentionMs };
    });
    if (record.state.type === "deleted") {
      await decode.evict(id);
      log("context deleted, for now");
      return { context: contextMessage(record) };
    }
    // It failed, or began anew, in between: there is nothing to keep.
    await remover.remove(id, call.signal);
    log("context deleted");
    return {};
  };

/** Whether it has a record that somebody may want back. */
function isKept(record: ContextRecord): boolean {
  const { type } = record.state;
  return type === "deleted" || (type === "active" && !isExpired(record, Date.now()));
}

function check(record: ContextRecord, { force, etag }: DeleteContextRequest): void {
  checkEtag(record, etag);
  const context = contextName(record.id);
  if (!record.pinned || force || record.state.type !== "active") return;
  throw new KvaultError("CONTEXT_PINNED", `Cannot delete context "${context}": it is pinned`, { details: { context } });
}
