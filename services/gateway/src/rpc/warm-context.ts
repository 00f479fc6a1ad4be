/**
 * Contexts.WarmContext: loads a context at the workers that its questions will go to.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import type { MessageInitShape, ServerCall, WarmContextRequest, WarmContextResponseSchema } from "@kvault/rpc";
import { findActive } from "../catalogue/find-context.ts";
import type { GatewayDeps } from "../deps.ts";
import { contextIdFrom } from "../validation/names.ts";

/** More replicas than any context needs. */
const MAX_REPLICAS = 64;

export const warmContext =
  ({ catalogue, decode }: GatewayDeps) =>
  async (
    { name, replicas }: WarmContextRequest,
    call: ServerCall,
  ): Promise<MessageInitShape<typeof WarmContextResponseSchema>> => {
    const id = contextIdFrom(name, "name");
    if (replicas > MAX_REPLICAS) throw invalidArgument("replicas", `Cannot load at ${replicas} workers: at most ${MAX_REPLICAS}`);
    const record = await findActive(catalogue, id);
    return { replicas: await decode.warmAt(record, Math.max(1, replicas), call) };
  };
