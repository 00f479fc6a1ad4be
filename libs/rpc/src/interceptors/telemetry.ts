/**
 * A span and a duration for every call served, by the RPC conventions. Outermost, so that log
 * lines of the call carry its trace. Not there at all while telemetry is off.
 *
 * Workers' calls that belong to no trace (gateways ask for their status every second) get no span.
 *
 * @module
 */
import { isKvaultError } from "@kvault/core";
import { inSpanStream, isRecording, isTracing, observe } from "@kvault/telemetry";
import type { Interceptor } from "../call.ts";

const INTERNAL_SERVICE = "kvault.v1.Workers";

export const callTelemetry: Interceptor = (next, method) => {
  if (!isRecording()) return next;
  const name = `${method.parent.typeName}/${method.name}`;
  const isInternal = method.parent.typeName === INTERNAL_SERVICE;
  return async function* (requests, call) {
    const { traceparent: parent, requestId } = call;
    const startMs = performance.now();
    let errorType = "CANCELLED";
    try {
      if (!isTracing() || (isInternal && parent === undefined)) yield* next(requests, call);
      else {
        const attributes = { "rpc.system.name": "grpc", "rpc.method": name, "kvault.request.id": requestId };
        yield* inSpanStream(name, { kind: "server", parent, attributes }, () => next(requests, call));
      }
      errorType = "";
    } catch (error) {
      errorType = isKvaultError(error) ? error.code : "INTERNAL";
      throw error;
    } finally {
      observe("rpc_server_call_duration", (performance.now() - startMs) / 1_000, { rpc_method: name, error_type: errorType });
    }
  };
};
