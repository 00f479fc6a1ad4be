/**
 * Contexts.WatchContext: the context now, then after every change, until it is ACTIVE, FAILED or
 * gone. A caller that reads slowly skips to the newest.
 *
 * @module
 */
import type { MessageInitShape, ServerCall, WatchContextRequest, WatchContextResponseSchema } from "@kvault/rpc";
import type { ContextRecord } from "../catalogue/context-catalogue.ts";
import { contextMessage } from "../catalogue/context-message.ts";
import { findContext } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { contextIdFrom } from "../validation/names.ts";

export const watchContext = ({ catalogue }: GatewayDeps) =>
  async function* (
    { name }: WatchContextRequest,
    call: ServerCall,
  ): AsyncGenerator<MessageInitShape<typeof WatchContextResponseSchema>, void, undefined> {
    const id = contextIdFrom(name, "name");
    let last: ContextRecord = await findContext(catalogue, id);
    for await (const record of catalogue.watch(id, { signal: call.signal })) {
      last = record;
      if (record.state.type === "deleted") break;
      yield { context: contextMessage(record) };
      if (record.state.type === "active" || record.state.type === "failed") return;
    }
    yield { context: contextMessage(last), deleted: true };
  };
