/**
 * Workers.Evict: lets a context go; queries that read it finish. Succeeds when it was not resident.
 *
 * @module
 */
import type { EvictRequest, EvictResponseSchema, MessageInitShape, ServerCall } from "@kvault/rpc";
import type { Engine } from "@kvault/runtime";

export const evict =
  (engine: Engine) =>
  async ({ contextId }: EvictRequest, { signal }: ServerCall): Promise<MessageInitShape<typeof EvictResponseSchema>> => {
    await engine.evict(contextId, { signal });
    return {};
  };
