/**
 * Calls of a server's own handlers from inside its process, for fronts that speak another protocol.
 *
 * What a caller from outside meets is met here too: the same token check, the same interceptors,
 * the same errors. Only the wire is missing.
 *
 * @module
 */
import { create, type DescMessage, type DescMethod, type DescService } from "@bufbuild/protobuf";
import { abortError, KvaultError, orAborted, throwIfAborted, toKvaultError } from "@kvault/core";
import { checkedPrincipal, type ServerAuthentication } from "./auth/authentication.ts";
import { ANONYMOUS, type Principal } from "./auth/principal.ts";
import { type Interceptor, type ServerCall, type ServiceImplementation, wrappedHandlers } from "./call.ts";
import type { Client } from "./client.ts";
import { errorMap } from "./interceptors/error-map.ts";
import { callTelemetry } from "./interceptors/telemetry.ts";
import type { RpcLogger } from "./rpc-logger.ts";
import type { Sendable } from "./service-definition.ts";

export interface InProcessOptions {
  readonly services: readonly ServiceImplementation[];
  /** As the server's: outermost first. */
  readonly interceptors: readonly Interceptor[];
  /** As the server's; anybody may call when absent. */
  readonly auth?: ServerAuthentication;
  readonly log: RpcLogger;
}

/** Who calls, and until when. */
export interface InProcessCaller {
  readonly token?: string;
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch; the signal alone when absent. */
  readonly deadlineMs?: number;
  readonly requestId: string;
  /** The trace that the caller is part of. */
  readonly traceparent?: string | undefined;
}

/** Makes clients of the handlers, one for each caller. */
export type InProcessClients = <S extends DescService>(service: S, caller: InProcessCaller) => Client<S>;

export function inProcessClients({ services, interceptors, auth, log }: InProcessOptions): InProcessClients {
  const handlers = new Map(
    services.flatMap((service) => [...wrappedHandlers(service, [callTelemetry, ...interceptors, errorMap])]),
  );
  return (service, caller) => {
    const callOf = (method: DescMethod): ServerCall => {
      const path = `/${method.parent.typeName}/${method.name}`;
      return {
        signal: caller.signal,
        deadlineMs: caller.deadlineMs ?? Number.POSITIVE_INFINITY,
        requestId: caller.requestId,
        traceparent: caller.traceparent,
        path,
        principal: auth === undefined ? ANONYMOUS : admitted(auth, caller.token, path),
        log,
      };
    };
    const replies = async function* (method: DescMethod, requests: AsyncIterable<unknown>): AsyncGenerator<unknown> {
      throwIfAborted(caller.signal);
      const handler = handlers.get(method);
      if (handler === undefined) throw new KvaultError("INTERNAL", `Cannot call "${method.name}": it is not served`);
      const iterator = handler(requests, callOf(method))[Symbol.asyncIterator]();
      let over = false;
      try {
        while (true) {
          const next = await orAborted(Promise.resolve(iterator.next()), caller.signal);
          if (next.done === true) break;
          yield create(method.output, next.value as Sendable<DescMessage>);
        }
        over = true;
      } catch (thrown) {
        throw caller.signal.aborted ? abortError(caller.signal) : toKvaultError(thrown);
      } finally {
        // A busy generator returns when it next yields; nobody waits for that.
        if (!over) Promise.resolve(iterator.return?.()).catch(() => undefined);
      }
    };
    const callerOf = (method: DescMethod): unknown => {
      const manyIn = method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming";
      const manyOut = method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming";
      return (given: Sendable<DescMessage> | AsyncIterable<Sendable<DescMessage>>) => {
        const requests = manyIn
          ? each(method, given as AsyncIterable<Sendable<DescMessage>>)
          : once(method, given as Sendable<DescMessage>);
        return manyOut ? replies(method, requests) : only(replies(method, requests), method);
      };
    };
    return Object.fromEntries(service.methods.map((method) => [method.localName, callerOf(method)])) as Client<typeof service>;
  };
}

function admitted(auth: ServerAuthentication, token: string | undefined, path: string): Principal {
  try {
    return checkedPrincipal(auth, token, path);
  } catch (thrown) {
    const error = toKvaultError(thrown);
    auth.onRefused?.({ path, error });
    throw error;
  }
}

async function* once({ input }: DescMethod, request: Sendable<DescMessage>): AsyncGenerator<unknown> {
  yield create(input, request);
}

async function* each({ input }: DescMethod, requests: AsyncIterable<Sendable<DescMessage>>): AsyncGenerator<unknown> {
  for await (const request of requests) yield create(input, request);
}

async function only(replies: AsyncGenerator<unknown>, { name }: DescMethod): Promise<unknown> {
  for await (const reply of replies) return reply;
  throw new KvaultError("INTERNAL", `Cannot read the reply of "${name}": there is none`);
}
