/**
 * Workers.Load: makes a context resident ahead of its first question.
 *
 * @module
 */
import type { LoadRequest, LoadResponseSchema, MessageInitShape, ServerCall } from "@kvault/rpc";
import type { Engine } from "@kvault/runtime";
import { cacheMessage } from "./query-messages.ts";

export const load =
  (engine: Pick<Engine, "load">) =>
  async (
    { contextId, digest, model }: LoadRequest,
    { signal }: ServerCall,
  ): Promise<MessageInitShape<typeof LoadResponseSchema>> => ({
    cache: cacheMessage(await engine.load({ contextId, digest, model }, { signal })),
  });
