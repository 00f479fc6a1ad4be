/**
 * The public services and their handlers.
 *
 * @module
 */
import {
  Cluster,
  Contexts,
  Inference,
  implement,
  Models,
  Operations,
  type ServerCall,
  type ServiceImplementation,
  UNIMPLEMENTED,
} from "@kvault/rpc";
import type { ContextCatalogue } from "../catalogue/context-catalogue.ts";
import { catalogueOf } from "../catalogue/tenant-catalogue.ts";
import type { GatewayDeps } from "../deps.ts";
import type { StorageQuota } from "../quota/storage-quota.ts";
import { cancelOperation } from "./cancel-operation.ts";
import { countTokens } from "./count-tokens.ts";
import { createContext } from "./create-context.ts";
import { deleteContext } from "./delete-context.ts";
import { explainRequest } from "./explain-request.ts";
import { getContext } from "./get-context.ts";
import { getModel } from "./get-model.ts";
import { getOperation } from "./get-operation.ts";
import { inspectContext } from "./inspect-context.ts";
import { listContexts } from "./list-contexts.ts";
import { listModels } from "./list-models.ts";
import { listWorkers } from "./list-workers.ts";
import { query } from "./query.ts";
import { queryBatch } from "./query-batch.ts";
import { undeleteContext } from "./undelete-context.ts";
import { updateContext } from "./update-context.ts";
import { uploadContext } from "./upload-context.ts";
import { waitOperation } from "./wait-operation.ts";
import { warmContext } from "./warm-context.ts";
import { watchContext } from "./watch-context.ts";

/** What all calls share; handlers see it through their caller's tenant. */
export interface SharedDeps extends Omit<GatewayDeps, "catalogue" | "owner"> {
  readonly catalogue: ContextCatalogue;
  readonly quota: StorageQuota;
  /** Secret in the digests of a tenant's contexts. */
  saltOf(tenant: string): string;
}

export function gatewayServices(shared: SharedDeps): ServiceImplementation[] {
  const depsOf = ({ principal: { tenant } }: ServerCall): GatewayDeps => ({
    ...shared,
    catalogue: shared.quota.guard(catalogueOf(shared.catalogue, tenant), tenant),
    owner: { tenant, salt: shared.saltOf(tenant) },
  });
  const scoped =
    <Request, Reply>(handler: (deps: GatewayDeps) => (request: Request, call: ServerCall) => Reply) =>
    (request: Request, call: ServerCall): Reply =>
      handler(depsOf(call))(request, call);
  return [
    implement(Contexts, {
      createContext: scoped(createContext),
      uploadContext: scoped(uploadContext),
      getContext: scoped(getContext),
      listContexts: scoped(listContexts),
      updateContext: scoped(updateContext),
      deleteContext: scoped(deleteContext),
      undeleteContext: scoped(undeleteContext),
      warmContext: scoped(warmContext),
      inspectContext: scoped(inspectContext),
      watchContext: scoped(watchContext),
    }),
    implement(Inference, { query: scoped(query), queryBatch: scoped(queryBatch), countTokens: scoped(countTokens) }),
    implement(Models, { listModels: scoped(listModels), getModel: scoped(getModel) }),
    implement(Cluster, { listWorkers: scoped(listWorkers), explainRequest: scoped(explainRequest) }),
    implement(Operations, {
      getOperation: scoped(getOperation),
      waitOperation: scoped(waitOperation),
      cancelOperation: scoped(cancelOperation),
      // Operations are contexts' builds: list and delete contexts instead.
      listOperations: UNIMPLEMENTED,
      deleteOperation: UNIMPLEMENTED,
    }),
  ];
}
