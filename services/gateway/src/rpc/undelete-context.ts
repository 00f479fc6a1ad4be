/**
 * Contexts.UndeleteContext: a deleted context is as it was before. One that is not deleted stays as
 * it is.
 *
 * @module
 */
import type { Context, ServerCall, UndeleteContextRequest } from "@kvault/rpc";
import { changeContext } from "../catalogue/change-context.ts";
import { contextMessage } from "../catalogue/context-message.ts";
import { contextNotFound, findContext } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { contextIdFrom } from "../validation/names.ts";

export const undeleteContext =
  (deps: GatewayDeps) =>
  async ({ name }: UndeleteContextRequest, call: ServerCall): Promise<Context> => {
    const id = contextIdFrom(name, "name");
    await findContext(deps.catalogue, id);
    const record = await changeContext(deps, id, ({ state }) => {
      if (state.type === "deleting" || state.type === "expired") throw contextNotFound(id);
      return state.type === "deleted" ? { deleteTimeMs: 0, purgeTimeMs: 0 } : undefined;
    });
    call.log.info({ requestId: call.requestId, contextId: id }, "context undeleted");
    return contextMessage(record);
  };
