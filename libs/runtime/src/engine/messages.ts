/**
 * What supervisor and engine say to each other: one union per direction, one id per call.
 *
 * A call is answered by any number of events and then exactly one result or error. A
 * cancelled call is answered too: its error is the acknowledgement. Messages cross by
 * structured clone; errors as {@link WireError}, so that class and code survive.
 *
 * @module
 */
import type { WireError } from "@kvault/core";
import type {
  BuildProgress,
  BuildRequest,
  BuildResult,
  CacheInfo,
  CountTokensRequest,
  DownloadProgress,
  EngineOptions,
  EngineSnapshot,
  InspectContextRequest,
  InspectScoresRequest,
  InspectScoresResult,
  KeptPairs,
  LoadRequest,
  ModelFacts,
  QueryAnswer,
  QueryDelta,
  QueryRequest,
  TokenCounts,
} from "./types.ts";

/** A build asks whether it may commit; it goes on at `proceed`, or ends when it is cancelled. */
interface CommitQuestion {
  readonly phase: "commit";
}

/** Every method of an engine: what it takes, what it reports on the way, what it gives. */
interface EngineMethods {
  build: {
    request: BuildRequest & { readonly asksBeforeCommit?: boolean };
    event: BuildProgress | CommitQuestion;
    result: BuildResult;
  };
  query: { request: QueryRequest; event: QueryDelta; result: QueryAnswer };
  load: { request: LoadRequest; event: never; result: CacheInfo };
  evict: { request: { readonly contextId: string }; event: never; result: boolean };
  inspectContext: { request: InspectContextRequest; event: never; result: KeptPairs };
  countTokens: { request: CountTokensRequest; event: never; result: TokenCounts };
  openModel: { request: { readonly model: string }; event: DownloadProgress; result: ModelFacts };
  inspectScores: { request: InspectScoresRequest; event: BuildProgress; result: InspectScoresResult };
}

export type EngineMethod = keyof EngineMethods;
export type RequestOf<M extends EngineMethod> = EngineMethods[M]["request"];
export type EventOf<M extends EngineMethod> = EngineMethods[M]["event"];
export type ResultOf<M extends EngineMethod> = EngineMethods[M]["result"];

export type CallMessage = {
  [M in EngineMethod]: {
    readonly type: "call";
    readonly id: number;
    readonly method: M;
    readonly request: RequestOf<M>;
    /** Milliseconds since the epoch; the pipe may hold a message while a run blocks the engine. */
    readonly sentAtMs: number;
    /** The trace that the caller is part of. */
    readonly traceparent?: string | undefined;
  };
}[EngineMethod];

/** Supervisor → engine. */
export type ToEngine =
  /** First, once. `lostContextIds` were resident in the process before this one. */
  | { readonly type: "open"; readonly options: EngineOptions; readonly lostContextIds: readonly string[] }
  | CallMessage
  | { readonly type: "cancel"; readonly id: number }
  /** The answer to what a call asked. */
  | { readonly type: "proceed"; readonly id: number }
  | { readonly type: "close" };

/** Engine → supervisor. */
export type FromEngine =
  /** Calls are taken from now on. */
  | { readonly type: "ready" }
  /** It cannot open, and says why before it exits. */
  | { readonly type: "broken"; readonly error: WireError }
  /** Every second while no run blocks it, and after each call. */
  | { readonly type: "heartbeat"; readonly snapshot: EngineSnapshot }
  | { readonly type: "event"; readonly id: number; readonly event: EventOf<EngineMethod> }
  | { readonly type: "result"; readonly id: number; readonly result: ResultOf<EngineMethod> }
  | { readonly type: "error"; readonly id: number; readonly error: WireError };

/** Milliseconds between two heartbeats of an idle engine. */
export const HEARTBEAT_MS = 1_000;
