/**
 * One method on grpc-js: requests in as an async iterable, replies out with backpressure, deadline
 * and disconnect as one signal.
 *
 * - A deadline already past is refused before the handler runs.
 * - Replies wait for the reader: at most grpc-js' 16 messages and one HTTP/2 window are ahead of it.
 *   A reader that takes nothing for `stalledReaderMs` is given up.
 * - The status leaves when the signal aborts, even while a handler is still busy; its iterator is
 *   then told to return.
 *
 * @module
 */
import { setMaxListeners } from "node:events";
import type { DescMethod } from "@bufbuild/protobuf";
import type { ServerDuplexStream, ServerUnaryCall, sendUnaryData, UntypedHandleCall } from "@grpc/grpc-js";
import { abortError, KvaultError, orAborted, throwIfAborted, toKvaultError } from "@kvault/core";
import { isRecording } from "@kvault/telemetry";
import { principalOf } from "./auth/authentication.ts";
import { ANONYMOUS } from "./auth/principal.ts";
import type { ServerCall, StreamHandler } from "./call.ts";
import { REQUEST_ID_KEY, requestIdFrom, TRACE_KEY, traceparentFrom } from "./request-id.ts";
import type { RpcLogger } from "./rpc-logger.ts";
import { toGrpcStatus } from "./status.ts";

/** A caller gives up at its deadline by its own clock, which may come a little before ours: it did not leave. */
const DEADLINE_SLACK_MS = 20;
/** Longest timer Node has; later deadlines are not watched. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export interface ServeOptions {
  readonly log: RpcLogger;
  readonly stalledReaderMs: number;
}

/** Calls being served; `abortAll` makes every one of them end with `reason`. */
export class LiveCalls {
  readonly #controllers = new Set<AbortController>();
  readonly #idle: (() => void)[] = [];
  refuseNew: KvaultError | undefined;

  add(controller: AbortController): void {
    this.#controllers.add(controller);
  }

  remove(controller: AbortController): void {
    this.#controllers.delete(controller);
    if (this.#controllers.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  /** Resolves when no call is left. */
  whenIdle(): Promise<void> {
    return this.#controllers.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  abortAll(reason: KvaultError): void {
    for (const controller of this.#controllers) controller.abort(reason);
  }
}

type AnyCall = ServerUnaryCall<unknown, unknown> | ServerDuplexStream<unknown, unknown>;

/** The grpc-js handler of `method`. */
export function serveMethod(
  method: DescMethod,
  handler: StreamHandler,
  live: LiveCalls,
  options: ServeOptions,
): UntypedHandleCall {
  const manyIn = method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
  const manyOut = method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming";
  return (grpcCall: AnyCall, callback?: sendUnaryData<unknown>): void => {
    const { call, finish } = beginCall(grpcCall, live, options);
    const requests = manyIn
      ? received(grpcCall as ServerDuplexStream<unknown, unknown>, call.signal)
      : once((grpcCall as { request: unknown }).request);
    const writer = manyOut
      ? streamWriter(grpcCall as ServerDuplexStream<unknown, unknown>, call.signal, options.stalledReaderMs)
      : unaryWriter(callback as sendUnaryData<unknown>);
    const iterator = handler(requests, call)[Symbol.asyncIterator]();
    pump(iterator, writer, call.signal)
      .then(
        () => writer.end(),
        (thrown) => {
          const error = call.signal.aborted ? abortError(call.signal) : toKvaultError(thrown);
          writer.fail(error, call.requestId);
        },
      )
      .finally(finish);
  };
}

/** Signal, deadline and request id of a call, and the function that lets go of them. */
function beginCall(grpcCall: AnyCall, live: LiveCalls, options: ServeOptions): { call: ServerCall; finish: () => void } {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal);
  const deadline = grpcCall.getDeadline();
  const deadlineMs = typeof deadline === "number" ? deadline : deadline.getTime();
  const expired = (): KvaultError =>
    new KvaultError("DEADLINE_EXCEEDED", `Cannot finish "${grpcCall.getPath()}": its deadline passed`);
  const leftMs = deadlineMs - Date.now();
  let timer: NodeJS.Timeout | undefined;
  if (live.refuseNew !== undefined) controller.abort(live.refuseNew);
  else if (leftMs <= 0) controller.abort(expired());
  else if (leftMs <= MAX_TIMER_MS) timer = setTimeout(() => controller.abort(expired()), leftMs);

  // grpc-js emits "cancelled" once for every call: when the caller left, and when all was sent.
  let pumped = false;
  let closed = false;
  const release = (): void => {
    if (pumped && closed) live.remove(controller);
  };
  grpcCall.once("cancelled", () => {
    clearTimeout(timer);
    const left = (): KvaultError => new KvaultError("CANCELLED", `Cannot finish "${grpcCall.getPath()}": the caller left`);
    if (!pumped) controller.abort(Date.now() >= deadlineMs - DEADLINE_SLACK_MS ? expired() : left());
    closed = true;
    release();
  });
  live.add(controller);

  const call: ServerCall = {
    signal: controller.signal,
    deadlineMs,
    requestId: requestIdFrom(grpcCall.metadata.get(REQUEST_ID_KEY)[0]),
    traceparent: isRecording() ? traceparentFrom(grpcCall.metadata.get(TRACE_KEY)[0]) : undefined,
    path: grpcCall.getPath(),
    principal: principalOf(grpcCall.metadata) ?? ANONYMOUS,
    log: options.log,
  };
  const finish = (): void => {
    pumped = true;
    release();
  };
  return { call, finish };
}

async function* once(request: unknown): AsyncGenerator<unknown> {
  yield request;
}

/**
 * Requests of a stream. A caller on Node that cancels half-closes first and resets after, in one
 * packet: without the turn of the event loop at the end, a cut upload would look like a whole one.
 */
async function* received(stream: ServerDuplexStream<unknown, unknown>, signal: AbortSignal): AsyncGenerator<unknown> {
  // The stream still has to carry the reply when all requests are read.
  yield* stream.iterator({ destroyOnReturn: false });
  await new Promise((resolve) => setImmediate(resolve));
  throwIfAborted(signal);
}

interface ReplyWriter {
  /** Resolves when the next reply may be sent. */
  write(reply: unknown): Promise<void>;
  end(): void;
  fail(error: KvaultError, requestId: string): void;
}

async function pump(iterator: AsyncIterator<unknown>, writer: ReplyWriter, signal: AbortSignal): Promise<void> {
  // One listener for the whole call: streams are long, and their replies small.
  let leave = (_: KvaultError): void => undefined;
  const onAbort = (): void => leave(abortError(signal));
  const nextReply = (): Promise<IteratorResult<unknown>> =>
    new Promise((resolve, reject) => {
      leave = reject;
      iterator.next().then(resolve, reject);
    });
  signal.addEventListener("abort", onAbort);
  let done = false;
  try {
    while (true) {
      if (signal.aborted) throw abortError(signal);
      const next = await nextReply();
      if (next.done === true) break;
      await writer.write(next.value);
    }
    done = true;
  } finally {
    signal.removeEventListener("abort", onAbort);
    // A busy generator returns when it next yields; nobody waits for that.
    if (!done) Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}

function unaryWriter(callback: sendUnaryData<unknown>): ReplyWriter {
  let reply: unknown;
  return {
    async write(value) {
      reply = value;
    },
    end: () => callback(null, reply),
    fail: (error, requestId) => callback(toGrpcStatus(error, requestId)),
  };
}

function streamWriter(stream: ServerDuplexStream<unknown, unknown>, signal: AbortSignal, stalledReaderMs: number): ReplyWriter {
  return {
    async write(reply) {
      if (stream.write(reply)) return;
      let timer: NodeJS.Timeout | undefined;
      const drained = new Promise<void>((resolve, reject) => {
        stream.once("drain", resolve);
        const stalled = `Cannot send to a reader that took nothing for ${stalledReaderMs} ms`;
        timer = setTimeout(() => reject(new KvaultError("DEADLINE_EXCEEDED", stalled)), stalledReaderMs);
      });
      await orAborted(drained, signal).finally(() => clearTimeout(timer));
    },
    end() {
      if (!stream.destroyed) stream.end();
    },
    fail(error, requestId) {
      if (!stream.destroyed) stream.emit("error", toGrpcStatus(error, requestId));
    },
  };
}
