/**
 * Contexts.UpdateContext: names, lifetime and pin of a context that is there, or is being built.
 *
 * @module
 */
import type { Context, UpdateContextRequest } from "@kvault/rpc";
import { changeContext } from "../catalogue/change-context.ts";
import { contextMessage } from "../catalogue/context-message.ts";
import { contextDeleted, contextNotFound, findContext } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { checkEtag } from "../validation/etag.ts";
import { contextIdFrom } from "../validation/names.ts";
import { readUpdate } from "../validation/update-request.ts";

export const updateContext =
  (deps: GatewayDeps) =>
  async (request: UpdateContextRequest): Promise<Context> => {
    const { context, edit } = readUpdate(request, Date.now());
    const id = contextIdFrom(context.name, "context.name");
    await findContext(deps.catalogue, id);
    const record = await changeContext(deps, id, (current) => {
      if (current.state.type === "deleted") throw contextDeleted(current);
      if (current.state.type === "deleting" || current.state.type === "expired") throw contextNotFound(id);
      checkEtag(current, context.etag);
      return edit(current);
    });
    return contextMessage(record);
  };
