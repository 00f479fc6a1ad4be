/**
 * One error class with a closed set of codes, and the one writer and reader that
 * carry it across a process, a queue or a wire.
 *
 * Codes are API and never change; messages may. Programmer mistakes are plain
 * `TypeError` / `RangeError` and are not caught.
 *
 * @module
 */

/** Every condition a caller can act on. The area prefix names who reports it. */
export const ERROR_CODES = [
  // the request itself
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "CANCELLED",
  "UNAUTHENTICATED",
  "PERMISSION_DENIED",
  "TOKEN_LIMIT",
  // contexts
  "CONTEXT_NOT_FOUND",
  "CONTEXT_NOT_READY",
  "CONTEXT_FAILED",
  "CONTEXT_EXPIRED",
  "CONTEXT_DELETED",
  "CONTEXT_PINNED",
  "CONTEXT_CHANGED",
  "REQUEST_ID_REUSED",
  "OPERATION_NOT_FOUND",
  "REQUEST_NOT_FOUND",
  // identity and integrity
  "INCOMPATIBLE_MODEL",
  "INCOMPATIBLE_FORMAT",
  "CACHE_CORRUPT",
  // models
  "MODEL_NOT_FOUND",
  "MODEL_UNAVAILABLE",
  "MODEL_CORRUPT",
  "MODEL_UNSUPPORTED",
  // compression
  "SPEC_INVALID",
  "METHOD_NOT_FOUND",
  "PROFILE_NOT_FOUND",
  // stores
  "STORE_NOT_FOUND",
  "STORE_EXISTS",
  "STORE_FULL",
  "STORE_UNAVAILABLE",
  "STORE_FORBIDDEN",
  // capacity and processes
  "NO_CAPACITY",
  "QUOTA_EXCEEDED",
  "ENGINE_DIED",
  "DRAINING",
  // the other process cannot be reached, or went away in the middle of a call
  "UNREACHABLE",
  "CLOSED",
  "INTERNAL",
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/** Flat and JSON-safe: ids, counts, the field at fault and what was found in it. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean>>;

/** Codes whose cause may be gone on the next try. */
const RETRYABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "CONTEXT_NOT_READY",
  "STORE_UNAVAILABLE",
  "MODEL_UNAVAILABLE",
  "NO_CAPACITY",
  "ENGINE_DIED",
  "DRAINING",
  "UNREACHABLE",
]);

export interface KvaultErrorOptions {
  readonly details?: ErrorDetails;
  readonly cause?: unknown;
  /** When a retry may succeed; defaults by code. */
  readonly retryable?: boolean;
}

/** A condition a caller can act on: `code` says which, `details` name the ids and fields. */
export class KvaultError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, options: KvaultErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = code === "CANCELLED" ? "AbortError" : "KvaultError";
    this.code = code;
    this.details = options.details ?? {};
    this.retryable = options.retryable ?? RETRYABLE.has(code);
  }
}

/** True for a {@link KvaultError} with one of `codes` (any code when none is given). */
export function isKvaultError(error: unknown, ...codes: readonly ErrorCode[]): error is KvaultError {
  return error instanceof KvaultError && (codes.length === 0 || codes.includes(error.code));
}

/** Bad input at the edge: names the field and what was found. */
export function invalidArgument(field: string, message: string, details: ErrorDetails = {}): KvaultError {
  return new KvaultError("INVALID_ARGUMENT", message, { details: { field, ...details } });
}

/** What crosses a process or a queue. The stack stays inside our own processes. */
export interface WireError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: ErrorDetails;
  readonly retryable: boolean;
  readonly stack?: string;
}

/** Anything thrown → {@link WireError}; what is not ours becomes INTERNAL with its own text. */
export function toWire(error: unknown): WireError {
  const known = toKvaultError(error);
  const { code, message, details, retryable, stack } = known;
  return { code, message, details, retryable, ...(stack === undefined ? {} : { stack }) };
}

/** {@link WireError} → the same error again, class, code and fields included. */
export function fromWire(wire: WireError): KvaultError {
  const code = (ERROR_CODES as readonly string[]).includes(wire.code) ? wire.code : "INTERNAL";
  const error = new KvaultError(code, wire.message, { details: wire.details, retryable: wire.retryable });
  if (wire.stack !== undefined) error.stack = wire.stack;
  return error;
}

/** The funnel from `unknown`: ours stay, aborts become CANCELLED, a full disk STORE_FULL, the rest INTERNAL. */
export function toKvaultError(error: unknown): KvaultError {
  if (error instanceof KvaultError) return error;
  if (error instanceof Error && error.name === "TimeoutError") {
    return new KvaultError("DEADLINE_EXCEEDED", "Deadline passed", { cause: error });
  }
  if (error instanceof Error && error.name === "AbortError") {
    return new KvaultError("CANCELLED", "Request was cancelled", { cause: error });
  }
  const message = error instanceof Error ? error.message : String(error);
  if (error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT")) {
    return new KvaultError("STORE_FULL", message, { details: { errno: error.code }, cause: error });
  }
  return new KvaultError("INTERNAL", message, { cause: error });
}
