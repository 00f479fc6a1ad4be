/**
 * Typed clients from service descriptors.
 *
 * Replies of a stream come as an async iterable that pulls: at most grpc-js' 16 messages and one
 * HTTP/2 window are read ahead of the consumer. Leaving a loop early, or aborting the signal,
 * cancels the call. A stream's call starts with the first `next()`.
 *
 * Nothing is retried here: whoever calls knows what is safe to repeat.
 *
 * @module
 */
import type { DescMessage, DescMethod, DescService, MessageShape } from "@bufbuild/protobuf";
import { type CallOptions as GrpcCallOptions, Metadata } from "@grpc/grpc-js";
import { abortError, type KvaultError, throwIfAborted } from "@kvault/core";
import { carriedTrace, inSpan, inSpanStream, isInTrace } from "@kvault/telemetry";
import { AUTHORIZATION_KEY } from "./auth/authentication.ts";
import type { CallOptions } from "./call-options.ts";
import type { Channel } from "./channel.ts";
import { REQUEST_ID_KEY, TRACE_KEY } from "./request-id.ts";
import { methodDefinition, type Sendable } from "./service-definition.ts";
import { fromGrpcError } from "./status.ts";

/** Time for a call with a single reply whose caller set no deadline. */
const DEFAULT_UNARY_MS = 60_000;

type MethodOf<M> = M extends { methodKind: infer K; input: infer I extends DescMessage; output: infer O extends DescMessage }
  ? K extends "unary"
    ? (request: Sendable<I>, options?: CallOptions) => Promise<MessageShape<O>>
    : K extends "server_streaming"
      ? (request: Sendable<I>, options?: CallOptions) => AsyncIterableIterator<MessageShape<O>>
      : K extends "client_streaming"
        ? (requests: AsyncIterable<Sendable<I>>, options?: CallOptions) => Promise<MessageShape<O>>
        : (requests: AsyncIterable<Sendable<I>>, options?: CallOptions) => AsyncIterableIterator<MessageShape<O>>
  : never;

/** One function per method of the service. Failures are KvaultErrors. */
export type Client<S extends DescService> = { readonly [K in keyof S["method"]]: MethodOf<S["method"][K]> };

/** A client of `service` on `channel`. The channel's owner closes it. */
export function createClient<S extends DescService>(service: S, channel: Channel): Client<S> {
  return Object.fromEntries(service.methods.map((method) => [method.localName, callerOf(method, channel)])) as Client<S>;
}

type Definition = ReturnType<typeof methodDefinition<DescMessage, DescMessage>>;
type Requests = AsyncIterable<Sendable<DescMessage>>;

function callerOf(method: DescMethod, channel: Channel): unknown {
  const call = untracedCallerOf(method, channel) as (request: never, options?: CallOptions) => unknown;
  const name = `${method.parent.typeName}/${method.name}`;
  const attributes = { "rpc.system.name": "grpc", "rpc.method": name, "server.address": channel.address };
  const manyOut = method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming";
  return (request: never, options?: CallOptions): unknown => {
    if (!isInTrace()) return call(request, options);
    const span = { kind: "client", attributes } as const;
    if (manyOut) return inSpanStream(name, span, () => call(request, options) as AsyncIterable<unknown>);
    return inSpan(name, span, () => call(request, options) as Promise<unknown>);
  };
}

function untracedCallerOf(method: DescMethod, channel: Channel): unknown {
  const definition = methodDefinition(method);
  switch (method.methodKind) {
    case "unary":
      return (request: Sendable<DescMessage>, options: CallOptions = {}) => callUnary(channel, definition, request, options);
    case "server_streaming":
      return (request: Sendable<DescMessage>, options: CallOptions = {}) =>
        callServerStream(channel, definition, request, options);
    case "client_streaming":
      return (requests: Requests, options: CallOptions = {}) => callClientStream(channel, definition, requests, options);
    case "bidi_streaming":
      return (requests: Requests, options: CallOptions = {}) => callBidiStream(channel, definition, requests, options);
  }
}

async function callUnary(
  channel: Channel,
  definition: Definition,
  request: Sendable<DescMessage>,
  options: CallOptions,
): Promise<unknown> {
  throwIfAborted(options.signal);
  const { path, requestSerialize, responseDeserialize } = definition;
  const { promise, callback } = replyPromise();
  const call = channel
    .grpc()
    .makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadataOf(channel, options),
      grpcOptions(options, true),
      callback,
    );
  return await cancelling(call, options.signal, () => promise);
}

async function* callServerStream(
  channel: Channel,
  definition: Definition,
  request: Sendable<DescMessage>,
  options: CallOptions,
): AsyncGenerator<unknown> {
  throwIfAborted(options.signal);
  const { path, requestSerialize, responseDeserialize } = definition;
  const call = channel
    .grpc()
    .makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      request,
      metadataOf(channel, options),
      grpcOptions(options, false),
    );
  yield* replies(call, options.signal, options.join);
}

async function callClientStream(
  channel: Channel,
  definition: Definition,
  requests: Requests,
  options: CallOptions,
): Promise<unknown> {
  throwIfAborted(options.signal);
  const { path, requestSerialize, responseDeserialize } = definition;
  const { promise, callback } = replyPromise();
  const call = channel
    .grpc()
    .makeClientStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadataOf(channel, options),
      grpcOptions(options, true),
      callback,
    );
  const over = promise.then(
    () => undefined,
    () => undefined,
  );
  return await cancelling(call, options.signal, async () => {
    const sent = sendAll(call, requests, over);
    // A failing source ends the call with its own error; an early reply or failure ends the source.
    await Promise.race([promise, sent]);
    return await promise;
  });
}

async function* callBidiStream(
  channel: Channel,
  definition: Definition,
  requests: Requests,
  options: CallOptions,
): AsyncGenerator<unknown> {
  throwIfAborted(options.signal);
  const { path, requestSerialize, responseDeserialize } = definition;
  const call = channel
    .grpc()
    .makeBidiStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      metadataOf(channel, options),
      grpcOptions(options, false),
    );
  const over = new Promise<void>((resolve) => call.once("status", () => resolve()));
  let sourceError: unknown;
  sendAll(call, requests, over).catch((error: unknown) => {
    sourceError = error;
    call.cancel();
  });
  try {
    yield* replies(call, options.signal);
  } catch (error) {
    throw sourceError ?? error;
  }
}

interface Cancellable {
  cancel(): void;
}

/** Runs `work`; an abort cancels the call, and so does leaving with an error. */
async function cancelling<T>(call: Cancellable, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
  const cancel = (): void => call.cancel();
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    return await work();
  } catch (error) {
    call.cancel();
    throw callError(error, signal);
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}

interface ReplyStream extends Cancellable, NodeJS.EventEmitter {
  read(): unknown;
}

/** Replies as they come, those that came together joined; the call is cancelled when its reader leaves. */
async function* replies(
  call: ReplyStream,
  signal: AbortSignal | undefined,
  join: NonNullable<CallOptions["join"]> = () => undefined,
): AsyncGenerator<unknown> {
  let wake = (): void => undefined;
  let over = false;
  let failure: unknown;
  const cancel = (): void => call.cancel();
  const end = (error?: unknown): void => {
    failure ??= error;
    over = true;
    wake();
  };
  call.on("readable", () => wake());
  call.on("end", () => end());
  call.on("close", () => end());
  call.on("error", end);
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    for (;;) {
      throwIfAborted(signal);
      let waiting: unknown = call.read();
      if (waiting === null) {
        if (failure !== undefined) throw failure;
        if (over) return;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        // What came in the same packets is read by then.
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      for (let next = call.read(); next !== null; next = call.read()) {
        const joined = join(waiting, next);
        if (joined === undefined) yield waiting;
        waiting = joined ?? next;
      }
      yield waiting;
    }
  } catch (error) {
    throw callError(error, signal);
  } finally {
    signal?.removeEventListener("abort", cancel);
    call.cancel();
  }
}

interface RequestSink extends NodeJS.EventEmitter {
  write(request: Sendable<DescMessage>): boolean;
  end(): void;
}

/** Writes every request as fast as the peer takes them, then half-closes. Stops quietly once the call is `over`. */
async function sendAll(call: RequestSink, requests: Requests, over: Promise<void>): Promise<void> {
  let isOver = false;
  void over.then(() => {
    isOver = true;
  });
  call.on("error", () => undefined);
  for await (const request of requests) {
    if (isOver) return;
    if (!call.write(request)) await Promise.race([over, new Promise((resolve) => call.once("drain", resolve))]);
  }
  if (!isOver) call.end();
}

function replyPromise(): { promise: Promise<unknown>; callback: (error: Error | null, reply?: unknown) => void } {
  let callback: (error: Error | null, reply?: unknown) => void = () => undefined;
  const promise = new Promise<unknown>((resolve, reject) => {
    callback = (error, reply) => (error === null ? resolve(reply) : reject(error));
  });
  return { promise, callback };
}

function metadataOf(channel: Channel, { requestId }: CallOptions): Metadata {
  const metadata = new Metadata();
  const token = channel.token();
  if (token !== undefined) metadata.set(AUTHORIZATION_KEY, `Bearer ${token}`);
  if (requestId !== undefined) metadata.set(REQUEST_ID_KEY, requestId);
  const trace = carriedTrace();
  if (trace !== undefined) metadata.set(TRACE_KEY, trace);
  return metadata;
}

function grpcOptions({ deadlineMs, signal }: CallOptions, single: boolean): GrpcCallOptions {
  if (deadlineMs !== undefined) return { deadline: deadlineMs };
  return single && signal === undefined ? { deadline: Date.now() + DEFAULT_UNARY_MS } : {};
}

/** Our own abort explains the failure better than the CANCELLED that came of it. */
function callError(error: unknown, signal: AbortSignal | undefined): KvaultError {
  return signal?.aborted === true ? abortError(signal) : fromGrpcError(error);
}
