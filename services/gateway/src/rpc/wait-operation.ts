/**
 * google.longrunning.Operations.WaitOperation: answers when the build is over or the time is up,
 * whichever comes first, with the operation as it is then.
 *
 * @module
 */
import { durationMs, type Operation, type ServerCall, type WaitOperationRequest } from "@kvault/rpc";
import type { ContextRecord } from "../catalogue/context-catalogue.ts";
import { operationMessage } from "../catalogue/context-message.ts";
import type { GatewayDeps } from "../deps.ts";
import { contextIdFromOperation, operationNotFound } from "../validation/names.ts";

/** Longest wait when the caller asks for none or for more. */
const MAX_WAIT_MS = 10 * 60_000;
/** The answer leaves this long before the caller's deadline. */
const ANSWER_MARGIN_MS = 100;

export const waitOperation =
  ({ catalogue }: GatewayDeps) =>
  async ({ name, timeout }: WaitOperationRequest, call: ServerCall): Promise<Operation> => {
    const id = contextIdFromOperation(name);
    let last: ContextRecord | undefined = await catalogue.get(id);
    if (last === undefined) throw operationNotFound(name);
    const askedMs = timeout === undefined ? MAX_WAIT_MS : durationMs(timeout);
    const waitMs = Math.max(0, Math.min(askedMs, MAX_WAIT_MS, call.deadlineMs - Date.now() - ANSWER_MARGIN_MS));
    const timeUp = AbortSignal.timeout(Math.ceil(waitMs));
    try {
      for await (const record of catalogue.watch(id, { signal: AbortSignal.any([call.signal, timeUp]) })) {
        last = record;
        if (record.state.type !== "creating") break;
      }
    } catch (error) {
      if (call.signal.aborted || !timeUp.aborted) throw error;
    }
    return operationMessage(last);
  };
