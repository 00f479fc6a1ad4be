/**
 * The shape of a server-side handler, and what it is told about its call.
 *
 * A handler is a plain function `(request, call) => Promise | AsyncIterable`. It never sees
 * gRPC: deadline, disconnect and server stop all arrive as one `call.signal`, whose reason is
 * a KvaultError (DEADLINE_EXCEEDED, CANCELLED, DRAINING).
 *
 * @module
 */
import type { DescMessage, DescMethod, DescService, MessageShape } from "@bufbuild/protobuf";
import type { Principal } from "./auth/principal.ts";
import type { CallOptions } from "./call-options.ts";
import type { RpcLogger } from "./rpc-logger.ts";
import type { Sendable } from "./service-definition.ts";

/** What a handler knows of the call it serves. */
export interface ServerCall {
  /** Aborted when the deadline passes, the caller leaves, or the server is forced to stop. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch; `Infinity` when the caller set none. */
  readonly deadlineMs: number;
  /** The caller's `x-request-id`, or a new one; passed on to the next hop and written in every log line. */
  readonly requestId: string;
  /** The trace that the caller is part of. */
  readonly traceparent?: string | undefined;
  /** `/package.Service/Method`. */
  readonly path: string;
  /** Who calls: tenant, role, token id. */
  readonly principal: Principal;
  readonly log: RpcLogger;
}

/** Kept back from a deadline at every hop, so that the typed error still travels home in time. */
const HOP_BUDGET_MS = 50;

/** Options for a call made on behalf of `call`: same signal and request id, the deadline one hop earlier. */
export function onward(call: ServerCall): CallOptions {
  return { signal: call.signal, deadlineMs: call.deadlineMs - HOP_BUDGET_MS, requestId: call.requestId };
}

type HandlerOf<M> = M extends { methodKind: infer K; input: infer I extends DescMessage; output: infer O extends DescMessage }
  ? K extends "unary"
    ? (request: MessageShape<I>, call: ServerCall) => Promise<Sendable<O>>
    : K extends "server_streaming"
      ? (request: MessageShape<I>, call: ServerCall) => AsyncIterable<Sendable<O>>
      : K extends "client_streaming"
        ? (requests: AsyncIterable<MessageShape<I>>, call: ServerCall) => Promise<Sendable<O>>
        : (requests: AsyncIterable<MessageShape<I>>, call: ServerCall) => AsyncIterable<Sendable<O>>
  : never;

/** In place of a handler: callers get UNIMPLEMENTED. */
export const UNIMPLEMENTED: unique symbol = Symbol("unimplemented");

/** One handler per method, or {@link UNIMPLEMENTED} in so many words: a missing one does not compile. */
export type ServiceHandlers<S extends DescService> = {
  readonly [K in keyof S["method"]]: HandlerOf<S["method"][K]> | typeof UNIMPLEMENTED;
};

/** A service and its handlers, types forgotten: what {@link startServer} takes. */
export interface ServiceImplementation {
  readonly descriptor: DescService;
  readonly handlers: Readonly<Record<string, AnyHandler | typeof UNIMPLEMENTED>>;
}

/** A handler of any kind: single requests and replies are streams of one. */
export type StreamHandler = (requests: AsyncIterable<unknown>, call: ServerCall) => AsyncIterable<unknown>;

// biome-ignore lint/suspicious/noExplicitAny: handlers of all four kinds in one table; `implement` checked each
type AnyHandler = (request: any, call: ServerCall) => Promise<unknown> | AsyncIterable<unknown>;

/** Pairs a service with its handlers. */
export function implement<S extends DescService>(descriptor: S, handlers: ServiceHandlers<S>): ServiceImplementation {
  return { descriptor, handlers: handlers as unknown as Readonly<Record<string, AnyHandler>> };
}

/** The handler of `method` as a stream to a stream, so that a wrapper is written once for all four kinds; undefined when there is none on purpose. */
function asStreamHandler(implementation: ServiceImplementation, method: DescMethod): StreamHandler | undefined {
  const handler = implementation.handlers[method.localName];
  if (handler === UNIMPLEMENTED) return undefined;
  if (handler === undefined) throw new TypeError(`Cannot serve "${method.parent.typeName}.${method.name}": no handler`);
  const manyIn = method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
  const manyOut = method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming";
  return async function* (requests, call) {
    let request: unknown = requests;
    if (!manyIn) for await (const only of requests) request = only;
    const reply = handler(request, call);
    if (manyOut) yield* reply as AsyncIterable<unknown>;
    else yield await (reply as Promise<unknown>);
  };
}

/** A wrapper around every handler of a server; the first one listed is outermost. */
export type Interceptor = (next: StreamHandler, method: DescMethod) => StreamHandler;

/** The handlers of `implementation` inside `interceptors`, by method; methods without one are left out. */
export function wrappedHandlers(
  implementation: ServiceImplementation,
  interceptors: readonly Interceptor[],
): Map<DescMethod, StreamHandler> {
  const handlers = new Map<DescMethod, StreamHandler>();
  for (const method of implementation.descriptor.methods) {
    const innermost = asStreamHandler(implementation, method);
    if (innermost === undefined) continue;
    handlers.set(
      method,
      interceptors.reduceRight((next, wrap) => wrap(next, method), innermost),
    );
  }
  return handlers;
}
