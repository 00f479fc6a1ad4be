/**
 * The id that follows a request over all its hops.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import type { Metadata } from "@grpc/grpc-js";

/** Metadata key of the id. */
export const REQUEST_ID_KEY = "x-request-id";
/** Ids of callers are taken when they look like one. */
const REQUEST_ID = /^[\w.:-]{1,128}$/;

/** The caller's id, or a new one. */
export function requestIdOf(metadata: Metadata): string {
  const [asked] = metadata.get(REQUEST_ID_KEY);
  return typeof asked === "string" && REQUEST_ID.test(asked) ? asked : randomUUID();
}
