/**
 * Query messages ⇄ what the engine takes and gives. The gateway filled in every default; the
 * engine checks the values.
 *
 * @module
 */
import { invalidArgument } from "@kvault/core";
import {
  type AnswerSchema,
  CacheInfo_Tier,
  type CacheInfoSchema,
  type ExecuteRequest,
  FinishReason,
  type MessageInitShape,
  type TextDeltaSchema,
} from "@kvault/rpc";
import type { CacheInfo, CacheTier, QueryAnswer, QueryDelta, QueryRequest, FinishReason as Reason } from "@kvault/runtime";
import { readContent, readMessages } from "@kvault/worker";

const TIERS: Readonly<Record<CacheTier, CacheInfo_Tier>> = {
  memory: CacheInfo_Tier.MEMORY,
  store: CacheInfo_Tier.STORE,
  none: CacheInfo_Tier.NONE,
};

const REASONS: Readonly<Record<Reason, FinishReason>> = {
  end: FinishReason.END,
  stop: FinishReason.STOP,
  "max-tokens": FinishReason.MAX_TOKENS,
};

/** INVALID_ARGUMENT naming the field that is missing. */
export function readQueryRequest(request: ExecuteRequest): QueryRequest {
  const { model, question, turns, sampling, limits, resume, loadTimeoutMs } = request;
  return {
    source: readSource(request),
    model,
    question,
    ...(turns.length === 0 ? {} : { turns: readMessages(turns, "turns", "answer") }),
    sampling: {
      temperature: sampling?.temperature ?? 0,
      // 0 is off on the wire, 1 inside.
      topP: sampling?.topP || 1,
      topK: sampling?.topK ?? 0,
      seed: Number(sampling?.seed ?? 0n),
    },
    maxTokens: limits?.maxTokens ?? 0,
    stop: limits?.stop ?? [],
    ...(loadTimeoutMs === 0 ? {} : { loadTimeoutMs }),
    ...(resume && { resume: { tokenIds: resume.tokenIds, textUnits: resume.textUnits } }),
  };
}

export function deltaMessage({ text, tokenIds }: QueryDelta): MessageInitShape<typeof TextDeltaSchema> {
  return { text, tokenIds: [...tokenIds] };
}

export function answerMessage(answer: QueryAnswer): MessageInitShape<typeof AnswerSchema> {
  const { text, usage, timings, seed } = answer;
  return {
    text,
    finishReason: REASONS[answer.finishReason],
    usage: { ...usage, keptPairs: BigInt(usage.keptPairs) },
    timings,
    cache: cacheMessage(answer.cache),
    seed: BigInt(seed),
  };
}

export function cacheMessage({ tier, reason, bytesLoaded }: CacheInfo): MessageInitShape<typeof CacheInfoSchema> {
  return { tier: TIERS[tier], reason, bytesLoaded: BigInt(bytesLoaded) };
}

function readSource({ source, digest }: ExecuteRequest): QueryRequest["source"] {
  switch (source.case) {
    case "contextId":
      return { type: "stored", contextId: source.value, digest };
    case "inline":
      return { type: "inline", content: readContent(source.value.content, "inline.content", "answer") };
    default:
      throw invalidArgument("source", "Cannot answer: neither a context nor a text given");
  }
}
