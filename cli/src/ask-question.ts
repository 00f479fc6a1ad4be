/**
 * One question on one context: streamed, timed on this side of the wire.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { type Answer, CacheInfo_Tier, type MessageInitShape, type QueryRequestSchema } from "@kvault/rpc";
import type { GatewayClient } from "./gateway-client.ts";

export interface AskedQuestion {
  readonly answer: Answer;
  /** From sending to the first piece of text, milliseconds. */
  readonly ttftMs: number;
  /** Tokens after the first over the time after the first; with one token, over the whole time. */
  readonly tokensPerSecond: number;
}

export interface CacheReport {
  readonly tier: "memory" | "store" | "none" | "unknown";
  readonly reason: string;
  readonly bytesLoaded: number;
}

/** Sends a question; `onText` sees the answer as it is made. */
export async function askQuestion(
  gateway: GatewayClient,
  request: MessageInitShape<typeof QueryRequestSchema>,
  options: { readonly onText?: (text: string) => void; readonly signal?: AbortSignal; readonly requestId?: string } = {},
): Promise<AskedQuestion> {
  const { onText, ...call } = options;
  const sentMs = performance.now();
  let firstMs: number | undefined;
  for await (const { event } of gateway.inference.query(request, call)) {
    firstMs ??= performance.now();
    if (event.case === "delta") onText?.(event.value.text);
    if (event.case !== "answer") continue;
    const endMs = performance.now();
    const newTokens = event.value.usage?.newTokens ?? 0;
    const seconds = (newTokens > 1 ? endMs - firstMs : endMs - sentMs) / 1000;
    return {
      answer: event.value,
      ttftMs: firstMs - sentMs,
      tokensPerSecond: seconds > 0 ? Math.max(1, newTokens - 1) / seconds : 0,
    };
  }
  throw new KvaultError("INTERNAL", "Cannot read the answer: the stream ended without one");
}

const TIERS: Readonly<Record<CacheInfo_Tier, CacheReport["tier"]>> = {
  [CacheInfo_Tier.UNSPECIFIED]: "unknown",
  [CacheInfo_Tier.MEMORY]: "memory",
  [CacheInfo_Tier.STORE]: "store",
  [CacheInfo_Tier.NONE]: "none",
};

/** Where the context of an answer came from, JSON-safe. */
export function cacheReport({ cache }: Answer): CacheReport {
  return {
    tier: TIERS[cache?.tier ?? CacheInfo_Tier.UNSPECIFIED],
    reason: cache?.reason ?? "",
    bytesLoaded: Number(cache?.bytesLoaded ?? 0),
  };
}
