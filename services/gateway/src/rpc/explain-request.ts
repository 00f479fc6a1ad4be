/**
 * Cluster.ExplainRequest: what this gateway remembers of one of the caller's requests.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import {
  type ExplainRequestRequest,
  type ExplainRequestResponseSchema,
  type MessageInitShape,
  type ServerCall,
  timestampFromMs,
} from "@kvault/rpc";
import { contextMessage, contextName } from "../catalogue/context-message.ts";
import type { GatewayDeps } from "../deps.ts";

export const explainRequest =
  ({ recent, catalogue }: GatewayDeps) =>
  async (
    { requestId }: ExplainRequestRequest,
    { principal }: ServerCall,
  ): Promise<MessageInitShape<typeof ExplainRequestResponseSchema>> => {
    const found = recent.get(principal.tenant, requestId);
    if (found === undefined) {
      const message = `Cannot explain request "${requestId}": this gateway does not remember it; it keeps the last ones, and another gateway may have served it`;
      throw new KvaultError("REQUEST_NOT_FOUND", message, { details: { requestId } });
    }
    const { contextId, answer, attempts, startTimeMs, durationMs, outcome, method, model, traceId } = found;
    const record = contextId === "" ? undefined : await catalogue.get(contextId);
    return {
      ...{ requestId, method, model, traceId, outcome },
      durationMs: BigInt(durationMs),
      startTime: timestampFromMs(startTimeMs),
      attempts: attempts.map((attempt) => ({ ...attempt, atMs: BigInt(attempt.atMs) })),
      ...(contextId === "" ? {} : { contextName: contextName(contextId) }),
      ...(record === undefined ? {} : { context: contextMessage(record) }),
      ...(answer?.usage === undefined ? {} : { usage: answer.usage }),
      ...(answer?.timings === undefined ? {} : { timings: answer.timings }),
      ...(answer?.cache === undefined ? {} : { cache: answer.cache }),
    };
  };
