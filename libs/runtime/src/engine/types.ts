/**
 * What a supervisor asks of an engine. K/V bytes never cross this line: the engine reads
 * and writes the store itself.
 *
 * @module
 */
import type { ChatMessage } from "@kvault/model";

export type Content = { readonly text: string } | { readonly messages: readonly ChatMessage[] };

/** How to start an engine process. */
export interface EngineOptions {
  /** `file:…` or `memory:` (tests only); see kvstore's open-store. */
  readonly storeUrl: string;
  /** Model files and generated graphs. */
  readonly cacheDir: string;
  /** Refuse to download models. */
  readonly offline: boolean;
  /** ONNX Runtime intra-op threads. */
  readonly numThreads: number;
  /** Bytes of resident contexts before the least recently used is let go. */
  readonly residentBytes: number;
  /** `int8` activations inside MatMulNBits, or `f32` (slower; for accuracy studies). */
  readonly activations: "int8" | "f32";
}

export interface BuildRequest {
  readonly contextId: string;
  readonly digest: string;
  readonly model: string;
  readonly content: Content;
  readonly contentSha256: string;
  /** Full spec, keep ratio included. */
  readonly spec: string;
  readonly displayName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly createTimeMs: number;
  /** 0: never. */
  readonly expireTimeMs: number;
}

export type BuildPhase = "loading" | "prefill" | "score" | "compress" | "publish";

export interface BuildProgress {
  readonly phase: BuildPhase;
  /** Tokens in prefill and score, layers in compress and publish. */
  readonly done: number;
  readonly total: number;
}

export interface SamplingOptions {
  /** 0: greedy. */
  readonly temperature: number;
  /** (0, 1]; 1: off. */
  readonly topP: number;
  /** 0: off. */
  readonly topK: number;
  readonly seed: number;
}

export interface QueryRequest {
  readonly source:
    | { readonly type: "stored"; readonly contextId: string; readonly digest: string }
    | { readonly type: "inline"; readonly content: Content };
  readonly model: string;
  readonly question: string;
  readonly sampling: SamplingOptions;
  readonly maxTokens: number;
  readonly stop: readonly string[];
}

export type FinishReason = "end" | "stop" | "max-tokens";
export type CacheTier = "memory" | "store" | "none";
export type CacheReason = "RESIDENT" | "FIRST_USE" | "EVICTED" | "ENGINE_RESTARTED" | "INLINE";

export interface CacheInfo {
  readonly tier: CacheTier;
  readonly reason: CacheReason;
  readonly bytesLoaded: number;
}

export type QueryEvent =
  | { readonly type: "delta"; readonly text: string; readonly tokenIds: readonly number[] }
  | {
      readonly type: "answer";
      readonly text: string;
      readonly finishReason: FinishReason;
      readonly usage: {
        readonly contextTokens: number;
        readonly keptPairs: number;
        readonly questionTokens: number;
        readonly newTokens: number;
      };
      readonly timings: {
        readonly queueMs: number;
        readonly loadMs: number;
        readonly ttftMs: number;
        readonly tpotMs: number;
        readonly totalMs: number;
      };
      readonly cache: CacheInfo;
      readonly seed: number;
    };
