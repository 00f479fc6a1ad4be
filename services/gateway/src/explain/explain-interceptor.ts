/**
 * Remembers the requests that one may want explained: questions and the making of contexts.
 *
 * @module
 */
import { isKvaultError } from "@kvault/core";
import type { Interceptor } from "@kvault/rpc";
import { traceIds } from "@kvault/telemetry";
import type { RecentRequests } from "./recent-requests.ts";

const EXPLAINED = new Set(["query", "queryBatch", "createContext", "uploadContext"]);

export function explainInterceptor(recent: RecentRequests): Interceptor {
  return (next, method) => {
    if (!EXPLAINED.has(method.localName)) return next;
    const name = `${method.parent.typeName}/${method.name}`;
    return async function* (requests, call) {
      const startTimeMs = Date.now();
      const { requestId } = call;
      const traceId = traceIds().trace_id ?? "";
      const request = recent.begin(call.principal.tenant, { requestId, method: name, traceId, startTimeMs });
      let outcome = "CANCELLED";
      try {
        yield* next(requests, call);
        outcome = "OK";
      } catch (error) {
        outcome = isKvaultError(error) ? error.code : "INTERNAL";
        throw error;
      } finally {
        request.outcome = outcome;
        request.durationMs = Date.now() - startTimeMs;
      }
    };
  };
}
