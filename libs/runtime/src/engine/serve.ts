/**
 * The engine's side of the protocol: opens on request, runs calls, reports, ends.
 *
 * Every call has its own AbortController; a cancel message aborts it, and the error it then
 * ends with is the acknowledgement. When the supervisor is gone nobody will take a result:
 * the process ends at once.
 *
 * @module
 */
import { KvaultError, toWire } from "@kvault/core";
import { inSpan } from "@kvault/telemetry";
import type { CallMessage, EngineMethod, EventOf, FromEngine, RequestOf, ResultOf, ToEngine } from "./messages.ts";
import { HEARTBEAT_MS } from "./messages.ts";
import type { EngineOptions, EngineSnapshot } from "./types.ts";

/** What a method is told about its call. */
interface EngineCall<M extends EngineMethod> {
  readonly signal: AbortSignal;
  emit(event: EventOf<M>): void;
  /** Milliseconds the call already waited in the pipe. */
  readonly waitedMs: number;
  /** Resolves when the supervisor answers what the call asked by an event. */
  readonly proceed: Promise<void>;
}

export type EngineHandlers = {
  readonly [M in EngineMethod]: (request: RequestOf<M>, call: EngineCall<M>) => Promise<ResultOf<M>>;
};

/** An opened engine inside its process. */
export interface EngineCore {
  readonly handlers: EngineHandlers;
  snapshot(): EngineSnapshot;
  close(): Promise<void>;
}

export interface OpenCoreOptions extends EngineOptions {
  readonly lostContextIds: readonly string[];
}

/** The process as this file needs it. */
export interface EngineChannel {
  send(message: FromEngine): void;
  onMessage(listener: (message: ToEngine) => void): void;
  onDisconnect(listener: () => void): void;
  exit(code: number): void;
}

export function serveEngine(channel: EngineChannel, openCore: (options: OpenCoreOptions) => Promise<EngineCore>): void {
  const running = new Map<number, { readonly controller: AbortController; proceed(): void }>();
  let core: EngineCore | undefined;
  let heartbeat: NodeJS.Timeout | undefined;

  const beat = (): void => {
    if (core !== undefined) channel.send({ type: "heartbeat", snapshot: core.snapshot() });
  };

  const open = async (options: EngineOptions, lostContextIds: readonly string[]): Promise<void> => {
    try {
      core = await openCore({ ...options, lostContextIds });
    } catch (error) {
      channel.send({ type: "broken", error: toWire(error) });
      // The message leaves first: an exit right away may cut it off.
      setImmediate(() => channel.exit(1));
      return;
    }
    channel.send({ type: "ready" });
    heartbeat = setInterval(beat, HEARTBEAT_MS);
  };

  const run = async ({ id, method, request, sentAtMs, traceparent: parent }: CallMessage): Promise<void> => {
    const controller = new AbortController();
    let resolve = (): void => undefined;
    const proceed = new Promise<void>((answered) => {
      resolve = answered;
    });
    running.set(id, { controller, proceed: () => resolve() });
    const call: EngineCall<EngineMethod> = {
      signal: controller.signal,
      proceed,
      emit: (event) => channel.send({ type: "event", id, event }),
      waitedMs: Math.max(0, Date.now() - sentAtMs),
    };
    let answer: FromEngine;
    try {
      if (core === undefined) throw new KvaultError("INTERNAL", `Cannot ${method}: the engine is not open`);
      const handler = core.handlers[method] as (request: unknown, call: unknown) => Promise<ResultOf<EngineMethod>>;
      answer = { type: "result", id, result: await inCallSpan(method, parent, () => handler(request, call)) };
    } catch (error) {
      answer = { type: "error", id, error: toWire(error) };
    }
    running.delete(id);
    // What the engine holds is told first, so that whoever waits for the answer sees it in the status.
    beat();
    channel.send(answer);
  };

  const close = async (): Promise<void> => {
    clearInterval(heartbeat);
    for (const { controller } of running.values()) {
      controller.abort(new KvaultError("CLOSED", "Cannot finish the call: the engine was closed"));
    }
    await core?.close();
    channel.exit(0);
  };

  channel.onDisconnect(() => channel.exit(0));
  channel.onMessage((message) => {
    switch (message.type) {
      case "open":
        void open(message.options, message.lostContextIds);
        break;
      case "call":
        void run(message);
        break;
      case "cancel":
        running.get(message.id)?.controller.abort(new KvaultError("CANCELLED", "Request was cancelled"));
        break;
      case "proceed":
        running.get(message.id)?.proceed();
        break;
      case "close":
        void close();
        break;
      default:
        message satisfies never;
    }
  });
}

/** Calls that belong to no trace begin none: warming and probing would be most of what is told. */
function inCallSpan<T>(method: EngineMethod, parent: string | undefined, work: () => Promise<T>): Promise<T> {
  return parent === undefined ? work() : inSpan(`engine ${method}`, { parent }, work);
}
