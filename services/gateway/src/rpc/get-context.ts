/** Contexts.GetContext. @module */
import type { Context, GetContextRequest } from "@kvault/rpc";
import { contextMessage } from "../catalogue/context-message.ts";
import { findContext } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { contextIdFrom } from "../validation/names.ts";

export const getContext =
  ({ catalogue }: GatewayDeps) =>
  async ({ name }: GetContextRequest): Promise<Context> =>
    contextMessage(await findContext(catalogue, contextIdFrom(name, "name")));
