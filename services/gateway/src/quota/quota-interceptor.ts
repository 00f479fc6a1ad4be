/**
 * Holds every call against its tenant's rates: the request before it is read, the tokens as they
 * are streamed, questions and inline texts when the answer tells what they came to.
 *
 * @module
 */
import type { Interceptor, QueryBatchResponse, QueryResponse } from "@kvault/rpc";
import type { TenantRates } from "./tenant-rates.ts";

type Event = QueryResponse["event"] | QueryBatchResponse["event"];

export function quotaInterceptor(rates: TenantRates): Interceptor {
  return (next) =>
    async function* (requests, call) {
      const { tenant } = call.principal;
      rates.admit(tenant);
      for await (const reply of next(requests, call)) {
        const tokens = tokensOf(reply);
        if (tokens > 0) rates.charge(tenant, tokens);
        yield reply;
      }
    };
}

/** Tokens that a reply stands for, each counted once over the whole stream. */
function tokensOf(reply: unknown): number {
  const { event } = reply as { readonly event?: Event };
  if (event?.case === "delta") return event.value.tokenIds?.length ?? 0;
  if (event?.case !== "answer") return 0;
  const { usage, cache } = event.value;
  // Only an inline text was read for this call.
  return (usage?.questionTokens ?? 0) + (cache?.reason === "INLINE" ? (usage?.contextTokens ?? 0) : 0);
}
