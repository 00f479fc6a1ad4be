/**
 * One HTTP request as the caller of our own handlers: its token, its request id, and a signal that
 * aborts when it goes away.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { bearerToken, type InProcessCaller, REQUEST_ID_KEY, requestIdFrom, TRACE_KEY, traceparentFrom } from "@kvault/rpc";
import type { FastifyReply, FastifyRequest } from "fastify";

export interface HttpCall {
  readonly requestId: string;
  readonly caller: InProcessCaller;
}

const calls = new WeakMap<FastifyRequest, HttpCall>();

/** Made once for a request, at its first use. */
export function httpCall(request: FastifyRequest, reply: FastifyReply): HttpCall {
  const known = calls.get(request);
  if (known !== undefined) return known;
  const controller = new AbortController();
  reply.raw.once("close", () => {
    if (!reply.raw.writableFinished)
      controller.abort(new KvaultError("CANCELLED", `Cannot finish "${request.url}": the caller left`));
  });
  const token = bearerToken(request.headers.authorization);
  const requestId = requestIdFrom(request.headers[REQUEST_ID_KEY]);
  const call: HttpCall = {
    requestId,
    caller: {
      signal: controller.signal,
      requestId,
      traceparent: traceparentFrom(request.headers[TRACE_KEY]),
      ...(token === undefined ? {} : { token }),
    },
  };
  calls.set(request, call);
  void reply.header(REQUEST_ID_KEY, requestId);
  return call;
}
