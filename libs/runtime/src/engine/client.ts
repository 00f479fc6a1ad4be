/**
 * The supervisor's side of an engine: starts it, speaks to it, outlives it.
 *
 * - A death rejects every call the process had taken with ENGINE_DIED, and another process is
 *   started after a growing delay. Calls that come meanwhile wait for it. A process that dies
 *   again and again before it is ready makes the engine `failed`: calls are then refused.
 * - A run blocks the engine's event loop, so silence is normal for seconds. Only after
 *   {@link EngineLimits.hungAfterMs} without a message is a process taken for hung and killed.
 * - An abort rejects the call at once and asks the engine to stop. If it has not acknowledged
 *   after {@link EngineLimits.cancelAckMs}, it is killed: a cancelled build must not hold the
 *   machine.
 *
 * Killing is always safe: the engine publishes records atomically and holds nothing else.
 *
 * Larger than one idea's worth of lines because the life of a process and the life of a call
 * decide each other's end.
 *
 * @module
 */
import { abortError, fromWire, KvaultError, throwIfAborted, toKvaultError } from "@kvault/core";
import { carriedTrace } from "@kvault/telemetry";
import { DELTA_BUFFER_LIMITS, DeltaBuffer, type DeltaBufferLimits } from "./delta-buffer.ts";
import { type EngineExit, type EngineProcess, forkEngine, type SpawnEngine } from "./engine-process.ts";
import type { CallMessage, EngineMethod, EventOf, FromEngine, RequestOf, ResultOf } from "./messages.ts";
import type {
  BuildOptions,
  BuildRequest,
  BuildResult,
  CacheInfo,
  CallOptions,
  CountTokensRequest,
  Engine,
  EngineHealth,
  EngineOptions,
  EngineSnapshot,
  EngineStatus,
  InspectContextRequest,
  InspectScoresRequest,
  InspectScoresResult,
  KeptPairs,
  LoadRequest,
  ModelFacts,
  OpenModelOptions,
  QueryEvent,
  QueryRequest,
  TokenCounts,
} from "./types.ts";

export interface EngineLimits {
  /** Silence after which a process is killed. Far above the longest run (a 2,000-token chunk on a slow machine). */
  readonly hungAfterMs: number;
  /** How long a cancelled call may go unacknowledged. */
  readonly cancelAckMs: number;
  /** How long a closing process may take. */
  readonly closeMs: number;
  /** First and longest delay before a new process. */
  readonly restartMs: number;
  readonly maxRestartMs: number;
  /** Deaths in a row without becoming ready before giving up. */
  readonly maxFailedStarts: number;
  /** A process that was ready this long is healthy: the next delay starts over. */
  readonly stableMs: number;
  readonly deltas: DeltaBufferLimits;
}

export const ENGINE_LIMITS: EngineLimits = Object.freeze({
  hungAfterMs: 180_000,
  cancelAckMs: 120_000,
  closeMs: 5_000,
  restartMs: 100,
  maxRestartMs: 10_000,
  maxFailedStarts: 5,
  stableMs: 60_000,
  deltas: DELTA_BUFFER_LIMITS,
});

/** What happens to an engine, for logs, health and metrics. */
export type EngineEvent =
  | { readonly type: "ready"; readonly pid: number | undefined; readonly restarts: number }
  | ({ readonly type: "died"; readonly reason: string; readonly callsLost: number } & EngineExit)
  | { readonly type: "failed"; readonly error: KvaultError };

export interface OpenEngineOptions extends EngineOptions {
  readonly onEvent?: (event: EngineEvent) => void;
  readonly limits?: Partial<EngineLimits>;
  /** How processes are made; tests put their own here. */
  readonly spawn?: SpawnEngine;
}

/** Starts an engine process; resolves when it takes calls, rejects when it cannot open. */
export async function openEngine(options: OpenEngineOptions): Promise<Engine> {
  const entry = new URL(import.meta.url.endsWith(".ts") ? "./main.ts" : "./main.js", import.meta.url);
  const client = new EngineClient(options, options.spawn ?? forkEngine(entry));
  await client.opened;
  return client;
}

interface PendingCall {
  readonly id: number;
  readonly method: EngineMethod;
  readonly request: RequestOf<EngineMethod>;
  readonly onEvent: (event: EventOf<EngineMethod>, id: number) => void;
  /** Both are no-ops once the caller was answered. */
  readonly resolve: (result: ResultOf<EngineMethod>) => void;
  readonly reject: (error: unknown) => void;
  readonly traceparent: string | undefined;
  sent: boolean;
  /** Set when the caller was answered with an abort and the engine still works. */
  cancelledAtMs: number | undefined;
}

const WATCH_MS = 1_000;
const NOTHING: EngineSnapshot = Object.freeze({ residentContextIds: [], residentBytes: 0, models: [] });

class EngineClient implements Engine {
  readonly opened: Promise<void>;
  readonly #options: EngineOptions;
  readonly #limits: EngineLimits;
  readonly #spawn: SpawnEngine;
  readonly #onEvent: (event: EngineEvent) => void;
  readonly #pending = new Map<number, PendingCall>();
  readonly #watchdog: NodeJS.Timeout;
  #health: EngineHealth = "starting";
  #process: EngineProcess | undefined;
  #snapshot: EngineSnapshot = NOTHING;
  #lostContextIds = new Set<string>();
  #nextId = 1;
  #restarts = 0;
  #failedStarts = 0;
  #deathsInRow = 0;
  #restartTimer: NodeJS.Timeout | undefined;
  #readyAtMs = 0;
  #lastMessageMs = 0;
  #lastWatchMs = performance.now();
  /** Why we killed it, or what it said before it exited. */
  #deathReason: string | undefined;
  #brokenBy: KvaultError | undefined;
  #settleOpened: { resolve(): void; reject(error: unknown): void } | undefined;
  #closing: Promise<void> | undefined;
  #onClosedExit: (() => void) | undefined;

  constructor(options: OpenEngineOptions, spawn: SpawnEngine) {
    const { onEvent, limits, spawn: _, ...engineOptions } = options;
    this.#options = engineOptions;
    this.#limits = { ...ENGINE_LIMITS, ...limits };
    this.#spawn = spawn;
    this.#onEvent = onEvent ?? (() => undefined);
    this.opened = new Promise((resolve, reject) => {
      this.#settleOpened = { resolve, reject };
    });
    this.#watchdog = setInterval(() => this.#watch(), WATCH_MS).unref();
    this.#start();
  }

  build(request: BuildRequest, { signal, onProgress, beforeCommit }: BuildOptions = {}): Promise<BuildResult> {
    const refused = new AbortController();
    const ended = AbortSignal.any([refused.signal, ...(signal === undefined ? [] : [signal])]);
    const asking = beforeCommit === undefined ? request : { ...request, asksBeforeCommit: true };
    return this.#call("build", asking, ended, (event, id) => {
      if (event.phase !== "commit") onProgress?.(event);
      else {
        Promise.resolve(beforeCommit?.()).then(
          () => this.#process?.send({ type: "proceed", id }),
          (error: unknown) => refused.abort(toKvaultError(error)),
        );
      }
    });
  }

  async *query(request: QueryRequest, { signal }: CallOptions = {}): AsyncGenerator<QueryEvent> {
    const controller = new AbortController();
    const abort = (): void => controller.abort(signal?.reason);
    signal?.addEventListener("abort", abort, { once: true });
    const buffer = new DeltaBuffer(this.#limits.deltas, (unreadTokens) => {
      const message = `Cannot stream the answer: ${unreadTokens} tokens wait for a reader that does not take them`;
      controller.abort(new KvaultError("CANCELLED", message, { details: { unreadTokens } }));
    });
    try {
      throwIfAborted(signal);
      const answer = this.#call("query", request, controller.signal, (delta) => buffer.push(delta));
      answer.then(
        () => buffer.end(),
        (error: unknown) => buffer.end({ error }),
      );
      yield* buffer.read();
      yield await answer;
    } finally {
      signal?.removeEventListener("abort", abort);
      buffer.end();
      controller.abort(new KvaultError("CANCELLED", "Cannot stream the answer: the reader left"));
    }
  }

  load(request: LoadRequest, { signal }: CallOptions = {}): Promise<CacheInfo> {
    return this.#call("load", request, signal);
  }

  evict(contextId: string, { signal }: CallOptions = {}): Promise<boolean> {
    return this.#call("evict", { contextId }, signal);
  }

  inspectContext(request: InspectContextRequest, { signal }: CallOptions = {}): Promise<KeptPairs> {
    return this.#call("inspectContext", request, signal);
  }

  countTokens(request: CountTokensRequest, { signal }: CallOptions = {}): Promise<TokenCounts> {
    return this.#call("countTokens", request, signal);
  }

  openModel(model: string, { signal, onProgress }: OpenModelOptions = {}): Promise<ModelFacts> {
    return this.#call("openModel", { model }, signal, onProgress);
  }

  inspectScores(
    request: InspectScoresRequest,
    { signal, onProgress }: Omit<BuildOptions, "beforeCommit"> = {},
  ): Promise<InspectScoresResult> {
    return this.#call("inspectScores", request, signal, onProgress);
  }

  status(): EngineStatus {
    const running = { build: 0, query: 0 };
    for (const { method } of this.#pending.values()) {
      if (method === "build" || method === "query") running[method]++;
    }
    return {
      ...this.#snapshot,
      runningBuilds: running.build,
      runningQueries: running.query,
      health: this.#health,
      restarts: this.#restarts,
      pid: this.#process?.pid,
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #call<M extends EngineMethod>(
    method: M,
    request: RequestOf<M>,
    signal: AbortSignal | undefined,
    onEvent: (event: EventOf<M>, id: number) => void = () => undefined,
  ): Promise<ResultOf<M>> {
    if (signal?.aborted) return Promise.reject(abortError(signal));
    if (this.#health === "closed") return Promise.reject(new KvaultError("CLOSED", `Cannot ${method}: the engine is closed`));
    if (this.#health === "failed") return Promise.reject(this.#failure(method));
    return new Promise<ResultOf<M>>((resolve, reject) => {
      const id = this.#nextId++;
      const onAbort = (): void => this.#cancel(call, abortError(signal as AbortSignal));
      const settle = (answer: () => void): void => {
        signal?.removeEventListener("abort", onAbort);
        answer();
      };
      const call: PendingCall = {
        id,
        method,
        request,
        onEvent: onEvent as PendingCall["onEvent"],
        resolve: (result) => settle(() => resolve(result as ResultOf<M>)),
        reject: (error) => settle(() => reject(error)),
        traceparent: carriedTrace(),
        sent: false,
        cancelledAtMs: undefined,
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#pending.set(id, call);
      if (this.#health === "ready") this.#send(call);
    });
  }

  #send(call: PendingCall): void {
    call.sent = true;
    const { id, method, request, traceparent } = call;
    this.#process?.send({ type: "call", id, method, request, sentAtMs: Date.now(), traceparent } as CallMessage);
  }

  #cancel(call: PendingCall, error: KvaultError): void {
    call.reject(error);
    if (call.sent) {
      call.cancelledAtMs = performance.now();
      this.#process?.send({ type: "cancel", id: call.id });
    } else {
      this.#pending.delete(call.id);
    }
  }

  #start(): void {
    this.#lastMessageMs = performance.now();
    this.#deathReason = undefined;
    this.#brokenBy = undefined;
    this.#readyAtMs = 0;
    const child = this.#spawn({
      onMessage: (message) => this.#receive(message),
      onExit: (exit) => this.#exited(exit),
    });
    this.#process = child;
    child.send({ type: "open", options: this.#options, lostContextIds: [...this.#lostContextIds] });
  }

  #receive(message: FromEngine): void {
    this.#lastMessageMs = performance.now();
    switch (message.type) {
      case "ready":
        this.#becameReady();
        break;
      case "broken":
        this.#brokenBy = fromWire(message.error);
        break;
      case "heartbeat":
        this.#snapshot = message.snapshot;
        for (const id of message.snapshot.residentContextIds) this.#lostContextIds.delete(id);
        break;
      case "event": {
        const call = this.#pending.get(message.id);
        if (call !== undefined && call.cancelledAtMs === undefined) call.onEvent(message.event, call.id);
        break;
      }
      case "result":
        this.#take(message.id)?.resolve(message.result);
        break;
      case "error":
        this.#take(message.id)?.reject(fromWire(message.error));
        break;
      default:
        message satisfies never;
    }
  }

  #take(id: number): PendingCall | undefined {
    const call = this.#pending.get(id);
    this.#pending.delete(id);
    return call;
  }

  #becameReady(): void {
    if (this.#health === "closed") return;
    this.#health = "ready";
    this.#readyAtMs = performance.now();
    this.#failedStarts = 0;
    this.#settleOpened?.resolve();
    this.#onEvent({ type: "ready", pid: this.#process?.pid, restarts: this.#restarts });
    for (const call of this.#pending.values()) {
      if (!call.sent) this.#send(call);
    }
  }

  #exited(exit: EngineExit): void {
    this.#process = undefined;
    for (const id of this.#snapshot.residentContextIds) this.#lostContextIds.add(id);
    this.#snapshot = NOTHING;
    if (this.#health === "closed") {
      this.#onClosedExit?.();
      return;
    }
    const lost = [...this.#pending.values()].filter((call) => call.sent);
    for (const call of lost) {
      this.#pending.delete(call.id);
      call.reject(this.#diedDuring(call.method, exit));
    }
    this.#onEvent({ type: "died", reason: this.#deathReason ?? "it ended by itself", callsLost: lost.length, ...exit });
    const wasReady = this.#readyAtMs > 0;
    if (!wasReady) this.#failedStarts++;
    // What cannot open the first time was asked to open something wrong: a retry changes nothing.
    const misconfigured = this.#brokenBy !== undefined && this.#restarts === 0 && this.#health === "starting";
    if (misconfigured || this.#failedStarts >= this.#limits.maxFailedStarts) {
      this.#fail(exit);
      return;
    }
    const wasStable = wasReady && performance.now() - this.#readyAtMs >= this.#limits.stableMs;
    this.#deathsInRow = wasStable ? 1 : this.#deathsInRow + 1;
    const delayMs = Math.min(this.#limits.maxRestartMs, this.#limits.restartMs * 2 ** (this.#deathsInRow - 1));
    if (this.#health === "ready") this.#health = "restarting";
    this.#restartTimer = setTimeout(() => {
      this.#restarts++;
      this.#start();
    }, delayMs);
  }

  /** Gives up: what waits is refused, and so is everything later. */
  #fail(exit: EngineExit): void {
    this.#health = "failed";
    clearInterval(this.#watchdog);
    const error = this.#brokenBy ?? this.#diedDuring("start", exit);
    this.#brokenBy = error;
    this.#settleOpened?.reject(error);
    for (const call of this.#pending.values()) call.reject(this.#failure(call.method));
    this.#pending.clear();
    this.#onEvent({ type: "failed", error });
  }

  #failure(method: string): KvaultError {
    return new KvaultError("ENGINE_DIED", `Cannot ${method}: the engine does not start: ${this.#brokenBy?.message ?? ""}`, {
      retryable: false,
      cause: this.#brokenBy,
    });
  }

  #diedDuring(what: string, exit: EngineExit): KvaultError {
    const how =
      this.#deathReason ?? (exit.exitSignal === undefined ? `exit code ${exit.exitCode ?? "none"}` : `signal ${exit.exitSignal}`);
    return new KvaultError("ENGINE_DIED", `Cannot finish "${what}": the engine process ended: ${how}`, {
      details: {
        method: what,
        ...(exit.exitCode === undefined ? {} : { exitCode: exit.exitCode }),
        ...(exit.exitSignal === undefined ? {} : { exitSignal: exit.exitSignal }),
      },
    });
  }

  #kill(reason: string): void {
    this.#deathReason ??= reason;
    this.#process?.kill();
  }

  #watch(): void {
    const nowMs = performance.now();
    const late = nowMs - this.#lastWatchMs > 5 * WATCH_MS;
    this.#lastWatchMs = nowMs;
    if (late) {
      // We slept (suspended, stopped): what was silent meanwhile gets its time again.
      this.#lastMessageMs = nowMs;
      for (const call of this.#pending.values()) {
        if (call.cancelledAtMs !== undefined) call.cancelledAtMs = nowMs;
      }
    }
    if (this.#process === undefined) return;
    const silentMs = nowMs - this.#lastMessageMs;
    if (silentMs > this.#limits.hungAfterMs) {
      this.#kill(`killed after ${Math.round(silentMs / 1_000)} s without a sign of life`);
    }
    for (const { method, cancelledAtMs } of this.#pending.values()) {
      if (cancelledAtMs !== undefined && nowMs - cancelledAtMs > this.#limits.cancelAckMs) {
        this.#kill(`killed: it did not stop a cancelled ${method} within ${this.#limits.cancelAckMs} ms`);
      }
    }
  }

  async #close(): Promise<void> {
    this.#health = "closed";
    clearInterval(this.#watchdog);
    clearTimeout(this.#restartTimer);
    const error = new KvaultError("CLOSED", "Cannot finish the call: the engine was closed");
    this.#settleOpened?.reject(error);
    for (const call of this.#pending.values()) call.reject(error);
    this.#pending.clear();
    const child = this.#process;
    if (child === undefined) return;
    const exited = new Promise<void>((resolve) => {
      this.#onClosedExit = resolve;
    });
    child.send({ type: "close" });
    const timer = setTimeout(() => child.kill(), this.#limits.closeMs);
    await exited;
    clearTimeout(timer);
  }
}
