/**
 * Whatever a handler throws leaves as a KvaultError. What is nobody's known condition is logged
 * here, with its own text and stack: the caller only gets the request id.
 *
 * @module
 */
import { abortError, toKvaultError } from "@kvault/core";
import type { Interceptor } from "../call.ts";

export const errorMap: Interceptor = (next) =>
  async function* (requests, call) {
    try {
      yield* next(requests, call);
    } catch (thrown) {
      if (call.signal.aborted) throw abortError(call.signal);
      const error = toKvaultError(thrown);
      if (error.code === "INTERNAL") {
        call.log.error({ requestId: call.requestId, method: call.path, err: error.cause ?? error }, "call failed inside");
      }
      throw error;
    }
  };
