/**
 * {@link KvaultError} → an HTTP status and the error body that OpenAI's clients read.
 *
 * The gRPC code decides the status (as gRPC transcoding maps it), except where a client that
 * retries by status would do the wrong thing: what may work later is 409, 429, 503 or 504, what
 * never will is 400, 404 or 422.
 *
 * @module
 */
import { type ErrorCode, type KvaultError, toKvaultError } from "@kvault/core";
import { retryDelayMs } from "@kvault/rpc";

/** A new code does not compile until it has a status here. */
const STATUS: Readonly<Record<ErrorCode, number>> = {
  INVALID_ARGUMENT: 400,
  TOKEN_LIMIT: 400,
  SPEC_INVALID: 400,
  REQUEST_ID_REUSED: 400,
  METHOD_NOT_FOUND: 400,
  UNAUTHENTICATED: 401,
  PERMISSION_DENIED: 403,
  CONTEXT_NOT_FOUND: 404,
  CONTEXT_EXPIRED: 404,
  CONTEXT_DELETED: 404,
  OPERATION_NOT_FOUND: 404,
  REQUEST_NOT_FOUND: 404,
  MODEL_NOT_FOUND: 404,
  STORE_NOT_FOUND: 404,
  CONTEXT_NOT_READY: 409,
  CONTEXT_PINNED: 409,
  CONTEXT_CHANGED: 409,
  STORE_EXISTS: 409,
  CONTEXT_FAILED: 422,
  INCOMPATIBLE_MODEL: 422,
  INCOMPATIBLE_FORMAT: 422,
  MODEL_UNSUPPORTED: 422,
  PROFILE_NOT_FOUND: 422,
  NO_CAPACITY: 429,
  QUOTA_EXCEEDED: 429,
  // nginx's name for a caller that left; nobody reads it
  CANCELLED: 499,
  INTERNAL: 500,
  CACHE_CORRUPT: 500,
  MODEL_CORRUPT: 500,
  STORE_FORBIDDEN: 500,
  STORE_FULL: 507,
  MODEL_UNAVAILABLE: 503,
  STORE_UNAVAILABLE: 503,
  ENGINE_DIED: 503,
  DRAINING: 503,
  UNREACHABLE: 503,
  CLOSED: 503,
  DEADLINE_EXCEEDED: 504,
};

/** OpenAI's `error.type`, by status. */
function typeOf(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 403) return "permission_error";
  if (status === 404) return "not_found_error";
  if (status === 429) return "rate_limit_error";
  return status < 500 ? "invalid_request_error" : "server_error";
}

interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    /** The field at fault. */
    readonly param: string | null;
    /** Our code, of the closed list. */
    readonly code: ErrorCode;
    readonly details: KvaultError["details"];
  };
}

export interface HttpError {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ErrorBody;
}

/** What a caller is told of anything thrown. The text of what is INTERNAL stays inside: the request id finds it in the log. */
export function httpError(thrown: unknown, requestId: string): HttpError {
  const error = toKvaultError(thrown);
  const status = STATUS[error.code];
  const { field } = error.details;
  const isInside = error.code === "INTERNAL";
  return {
    status,
    headers: error.retryable
      ? { "retry-after": String(Math.ceil(retryDelayMs(error) / 1000)), "retry-after-ms": String(retryDelayMs(error)) }
      : // The client's own guess from the status would be wrong.
        { "x-should-retry": "false" },
    body: {
      error: {
        message: isInside ? `Internal error; request ${requestId} is in the log` : error.message,
        type: typeOf(status),
        param: typeof field === "string" ? field : null,
        code: error.code,
        details: isInside ? {} : error.details,
      },
    },
  };
}
