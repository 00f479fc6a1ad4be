/**
 * Events of an answer → OpenAI's chat completion, whole or as chunks.
 *
 * What OpenAI's format has no place for stands in the member `kvault` of the completion and of the
 * last chunk: where the context came from, the timings, the seed.
 *
 * @module
 */
import { type Answer, CacheInfo_Tier, FinishReason, type QueryResponse } from "@kvault/rpc";

const REASON: Readonly<Record<FinishReason, "stop" | "length">> = {
  [FinishReason.UNSPECIFIED]: "stop",
  [FinishReason.END]: "stop",
  [FinishReason.STOP]: "stop",
  [FinishReason.MAX_TOKENS]: "length",
};

/** What every object of one answer repeats. */
export interface ReplyHead {
  readonly requestId: string;
  readonly model: string;
  readonly createdMs: number;
}

/** The `chat.completion` of an answer that is over. */
export function completion(head: ReplyHead, answer: Answer): object {
  const message = { role: "assistant", content: answer.text, refusal: null };
  return {
    ...headOf(head, "chat.completion"),
    choices: [{ index: 0, message, logprobs: null, finish_reason: REASON[answer.finishReason] }],
    usage: usageOf(answer),
    kvault: ownPart(answer),
  };
}

/** The `chat.completion.chunk`s of an answer under way. */
export async function* chunks(
  head: ReplyHead,
  events: AsyncIterable<QueryResponse>,
  includeUsage: boolean,
): AsyncGenerator<object, void, undefined> {
  const chunk = (delta: object, more: object = {}): object => ({
    ...headOf(head, "chat.completion.chunk"),
    choices: [{ index: 0, delta, logprobs: null, finish_reason: null, ...more }],
    ...(includeUsage ? { usage: null } : {}),
  });
  let begun = false;
  for await (const { event } of events) {
    // With the first event, not before: what fails until then is an HTTP error.
    if (!begun) yield chunk({ role: "assistant", content: "", refusal: null });
    begun = true;
    if (event.case === "delta") {
      if (event.value.text !== "") yield chunk({ content: event.value.text });
    } else if (event.case === "answer") {
      const answer = event.value;
      const end = chunk({}, { finish_reason: REASON[answer.finishReason] });
      yield { ...end, kvault: ownPart(answer) };
      if (includeUsage) yield { ...headOf(head, "chat.completion.chunk"), choices: [], usage: usageOf(answer) };
    }
  }
}

function headOf({ requestId, model, createdMs }: ReplyHead, object: string): object {
  return { id: `chatcmpl-${requestId}`, object, created: Math.floor(createdMs / 1000), model };
}

function usageOf({ usage, cache }: Answer): object {
  const { contextTokens = 0, questionTokens = 0, newTokens = 0 } = usage ?? {};
  const wasRead = cache?.tier === CacheInfo_Tier.NONE;
  return {
    prompt_tokens: contextTokens + questionTokens,
    completion_tokens: newTokens,
    total_tokens: contextTokens + questionTokens + newTokens,
    prompt_tokens_details: { cached_tokens: wasRead ? 0 : contextTokens },
  };
}

function ownPart({ usage, timings, cache, seed, moves }: Answer): object {
  return {
    kept_pairs: Number(usage?.keptPairs ?? 0),
    timings: {
      queue_ms: timings?.queueMs ?? 0,
      load_ms: timings?.loadMs ?? 0,
      ttft_ms: timings?.ttftMs ?? 0,
      tpot_ms: timings?.tpotMs ?? 0,
      total_ms: timings?.totalMs ?? 0,
    },
    cache: {
      tier: CacheInfo_Tier[cache?.tier ?? CacheInfo_Tier.UNSPECIFIED].toLowerCase(),
      reason: cache?.reason ?? "",
      bytes_loaded: Number(cache?.bytesLoaded ?? 0),
    },
    seed: Number(seed),
    moves,
  };
}
