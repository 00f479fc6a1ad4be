/**
 * An error as BullMQ keeps it: one string. Ours is written as JSON, without its stack; what
 * BullMQ itself says of a job (its worker died too often) is read as ENGINE_DIED.
 *
 * @module
 */
import { fromWire, KvaultError, toWire, type WireError } from "@kvault/core";

export function encodeFailure(error: KvaultError): string {
  const { code, message, details, retryable } = toWire(error);
  return JSON.stringify({ code, message, details, retryable });
}

export function decodeFailure(reason: string): KvaultError {
  try {
    const wire = JSON.parse(reason) as WireError;
    if (typeof wire?.code === "string" && typeof wire.message === "string") return fromWire(wire);
  } catch {
    // Not ours.
  }
  const code = /stalled more than/.test(reason) ? "ENGINE_DIED" : "INTERNAL";
  return new KvaultError(code, `Cannot run job: ${reason}`);
}
