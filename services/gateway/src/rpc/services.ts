/**
 * The public services and their handlers.
 *
 * @module
 */
import { Contexts, Inference, implement, Models, Operations, type ServiceImplementation, UNIMPLEMENTED } from "@kvault/rpc";
import type { GatewayDeps } from "../deps.ts";
import { cancelOperation } from "./cancel-operation.ts";
import { createContext } from "./create-context.ts";
import { deleteContext } from "./delete-context.ts";
import { getContext } from "./get-context.ts";
import { getModel } from "./get-model.ts";
import { getOperation } from "./get-operation.ts";
import { listContexts } from "./list-contexts.ts";
import { listModels } from "./list-models.ts";
import { query } from "./query.ts";
import { queryBatch } from "./query-batch.ts";
import { uploadContext } from "./upload-context.ts";
import { waitOperation } from "./wait-operation.ts";
import { watchContext } from "./watch-context.ts";

export function gatewayServices(deps: GatewayDeps): ServiceImplementation[] {
  return [
    implement(Contexts, {
      createContext: createContext(deps),
      uploadContext: uploadContext(deps),
      getContext: getContext(deps),
      listContexts: listContexts(deps),
      deleteContext: deleteContext(deps),
      watchContext: watchContext(deps),
    }),
    implement(Inference, { query: query(deps), queryBatch: queryBatch(deps) }),
    implement(Models, { listModels: listModels(deps), getModel: getModel(deps) }),
    implement(Operations, {
      getOperation: getOperation(deps),
      waitOperation: waitOperation(deps),
      cancelOperation: cancelOperation(deps),
      // Operations are contexts' builds: list and delete contexts instead.
      listOperations: UNIMPLEMENTED,
      deleteOperation: UNIMPLEMENTED,
    }),
  ];
}
