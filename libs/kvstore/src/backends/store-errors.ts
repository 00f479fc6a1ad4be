/**
 * System error codes → the store's own: full, forbidden, missing, or unavailable with its cause.
 *
 * @module
 */
import type { ErrorCode } from "@kvault/core";
import { abortError, KvaultError } from "@kvault/core";

const CODE_OF_ERRNO: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: "STORE_FULL",
  EDQUOT: "STORE_FULL",
  EACCES: "STORE_FORBIDDEN",
  EPERM: "STORE_FORBIDDEN",
  EROFS: "STORE_FORBIDDEN",
  ENOENT: "STORE_NOT_FOUND",
};

const REASON_OF_CODE: Partial<Record<ErrorCode, string>> = {
  STORE_FULL: "no space left",
  STORE_FORBIDDEN: "permission denied",
  STORE_NOT_FOUND: "no such key",
};

/** The typed error for `error`, met while doing `action` ("put", "get", …) on `key`. */
export function storeError(error: unknown, action: string, key: string, signal?: AbortSignal): KvaultError {
  if (error instanceof KvaultError) return error;
  if (signal?.aborted === true && error instanceof Error && error.name === "AbortError") return abortError(signal);
  const errno = errnoOf(error);
  const code = CODE_OF_ERRNO[errno ?? ""] ?? "STORE_UNAVAILABLE";
  const reason = REASON_OF_CODE[code] ?? (error instanceof Error ? error.message : String(error));
  const details = errno === undefined ? { key } : { key, errno };
  return new KvaultError(code, `Cannot ${action} "${key}": ${reason}`, { details, cause: error });
}

/** `ENOENT` and its kin, when `error` is a system error. */
export function errnoOf(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : undefined;
}
