/** google.longrunning.Operations.GetOperation: the latest build of a context. @module */
import type { GetOperationRequest, Operation } from "@kvault/rpc";
import { operationMessage } from "../catalogue/context-message.ts";
import type { GatewayDeps } from "../deps.ts";
import { contextIdFromOperation, operationNotFound } from "../validation/names.ts";

export const getOperation =
  ({ catalogue }: GatewayDeps) =>
  async ({ name }: GetOperationRequest): Promise<Operation> => {
    const record = await catalogue.get(contextIdFromOperation(name));
    if (record === undefined) throw operationNotFound(name);
    return operationMessage(record);
  };
