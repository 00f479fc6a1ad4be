/**
 * Contexts.CreateContext. Answers as soon as the request is checked and queued; the caller may leave.
 *
 * @module
 */
import type { CreateContextRequest, Operation, ServerCall } from "@kvault/rpc";
import type { GatewayDeps } from "../deps.ts";
import { readCreateRequest } from "../validation/create-request.ts";
import { acceptContext } from "./accept-context.ts";

export const createContext =
  (deps: GatewayDeps) =>
  async (request: CreateContextRequest, call: ServerCall): Promise<Operation> =>
    acceptContext(readCreateRequest(request, deps), request, deps, call);
