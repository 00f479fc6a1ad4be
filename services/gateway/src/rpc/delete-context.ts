/**
 * Contexts.DeleteContext: answers when build, copies, record and entry are gone. A caller that
 * leaves does not stop it.
 *
 * @module
 */
import type { DeleteContextRequest, ServerCall } from "@kvault/rpc";
import { contextNotFound } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { contextIdFrom } from "../validation/names.ts";

export const deleteContext =
  ({ catalogue, remover }: GatewayDeps) =>
  async ({ name }: DeleteContextRequest, call: ServerCall): Promise<Record<string, never>> => {
    const id = contextIdFrom(name, "name");
    if ((await catalogue.get(id)) === undefined) throw contextNotFound(id);
    await remover.remove(id, call.signal);
    call.log.info({ requestId: call.requestId, contextId: id }, "context deleted");
    return {};
  };
