/**
 * An answer as programs see it.
 *
 * @module
 */
import {
  type Answer as AnswerMessage,
  CacheInfo_Tier,
  type CacheInfo as CacheInfoMessage,
  FinishReason as FinishReasonValue,
} from "@kvault/rpc";

/** A piece of an answer: whole characters, never part of a stop string. */
export interface AnswerPiece {
  readonly text: string;
  readonly tokenIds: readonly number[];
}

export type FinishReason = "UNSPECIFIED" | "END" | "STOP" | "MAX_TOKENS";

export interface Usage {
  readonly contextTokens: number;
  readonly keptPairs: number;
  readonly questionTokens: number;
  readonly newTokens: number;
}

/** As the worker measured them. */
export interface Timings {
  readonly queueMs: number;
  readonly loadMs: number;
  readonly ttftMs: number;
  readonly tpotMs: number;
  readonly totalMs: number;
}

/** Where the context came from. */
export interface CacheInfo {
  readonly tier: "memory" | "store" | "none" | "unknown";
  readonly reason: string;
  readonly bytesLoaded: number;
}

export interface Answer {
  readonly text: string;
  readonly finishReason: FinishReason;
  readonly usage: Usage;
  readonly timings: Timings;
  readonly cache: CacheInfo;
  /** With it the same question has the same answer. */
  readonly seed: number;
  /** Times the answer moved on to another worker in the middle. */
  readonly moves: number;
  /** Times it was asked for again in the middle, since its gateway was lost. */
  readonly resumes: number;
}

const TIERS: Readonly<Record<CacheInfo_Tier, CacheInfo["tier"]>> = {
  [CacheInfo_Tier.UNSPECIFIED]: "unknown",
  [CacheInfo_Tier.MEMORY]: "memory",
  [CacheInfo_Tier.STORE]: "store",
  [CacheInfo_Tier.NONE]: "none",
};

export function cacheInfoOf(cache: CacheInfoMessage | undefined): CacheInfo {
  return {
    tier: TIERS[cache?.tier ?? CacheInfo_Tier.UNSPECIFIED] ?? "unknown",
    reason: cache?.reason ?? "",
    bytesLoaded: Number(cache?.bytesLoaded ?? 0),
  };
}

export function answerOf(message: AnswerMessage, resumes: number): Answer {
  const { text, finishReason, usage, timings, cache, seed, moves } = message;
  const { queueMs = 0, loadMs = 0, ttftMs = 0, tpotMs = 0, totalMs = 0 } = timings ?? {};
  return {
    text,
    finishReason: (FinishReasonValue[finishReason] ?? "UNSPECIFIED") as FinishReason,
    usage: {
      contextTokens: usage?.contextTokens ?? 0,
      keptPairs: Number(usage?.keptPairs ?? 0),
      questionTokens: usage?.questionTokens ?? 0,
      newTokens: usage?.newTokens ?? 0,
    },
    timings: { queueMs, loadMs, ttftMs, tpotMs, totalMs },
    cache: cacheInfoOf(cache),
    seed: Number(seed),
    moves,
    resumes,
  };
}
