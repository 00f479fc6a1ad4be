/**
 * What follows a request over all its hops: its id, and the trace it is part of.
 *
 * @module
 */
import { randomUUID } from "node:crypto";

/** Metadata key, and HTTP header, of the id. */
export const REQUEST_ID_KEY = "x-request-id";
/** Ids of callers are taken when they look like one. */
const REQUEST_ID = /^[\w.:-]{1,128}$/;

/** Metadata key, and HTTP header, of the trace (W3C Trace Context). */
export const TRACE_KEY = "traceparent";
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/** The caller's trace; undefined when it told none. */
export function traceparentFrom(told: unknown): string | undefined {
  return typeof told === "string" && TRACEPARENT.test(told) ? told : undefined;
}

/** The caller's id, or a new one. */
export function requestIdFrom(sent: unknown): string {
  return typeof sent === "string" && REQUEST_ID.test(sent) ? sent : randomUUID();
}
