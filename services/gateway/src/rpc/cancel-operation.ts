/**
 * google.longrunning.Operations.CancelOperation: stops the build; the context becomes FAILED with
 * CANCELLED and may be created again. Nothing happens when the build is over.
 *
 * @module
 */
import type { CancelOperationRequest, ServerCall } from "@kvault/rpc";
import type { GatewayDeps } from "../deps.ts";
import { contextIdFromOperation, operationNotFound } from "../validation/names.ts";

export const cancelOperation =
  ({ catalogue, queue }: GatewayDeps) =>
  async ({ name }: CancelOperationRequest, call: ServerCall): Promise<Record<string, never>> => {
    const record = await catalogue.get(contextIdFromOperation(name));
    if (record === undefined) throw operationNotFound(name);
    await queue.cancel(record.digest, { signal: call.signal });
    return {};
  };
