/**
 * One line per call when it ends: method, request id, outcome, duration, messages sent.
 * Never a field of the request or the reply.
 *
 * @module
 */
import { performance } from "node:perf_hooks";
import { isKvaultError } from "@kvault/core";
import type { Interceptor } from "../call.ts";

/** Outcomes that somebody who runs the service should look at. */
const ALARMING = new Set([
  "INTERNAL",
  "CACHE_CORRUPT",
  "MODEL_CORRUPT",
  "STORE_FULL",
  "STORE_UNAVAILABLE",
  "STORE_FORBIDDEN",
  "ENGINE_DIED",
]);

export const requestLog: Interceptor = (next) =>
  async function* (requests, call) {
    const startMs = performance.now();
    let sent = 0;
    let outcome = "CANCELLED";
    try {
      for await (const reply of next(requests, call)) {
        sent++;
        yield reply;
      }
      outcome = "OK";
    } catch (error) {
      outcome = isKvaultError(error) ? error.code : "INTERNAL";
      throw error;
    } finally {
      const durationMs = Math.round((performance.now() - startMs) * 10) / 10;
      const fields = { requestId: call.requestId, method: call.path, outcome, durationMs, sent };
      if (ALARMING.has(outcome)) call.log.warn(fields, "call ended");
      else call.log.info(fields, "call ended");
    }
  };
