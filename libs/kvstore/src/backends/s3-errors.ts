/**
 * What S3 and its SDK say → the store's own codes.
 *
 * @module
 */
import type { ErrorCode } from "@kvault/core";
import { KvaultError } from "@kvault/core";

const CODE_OF_STATUS: ReadonlyMap<number, ErrorCode> = new Map<number, ErrorCode>([
  [401, "STORE_FORBIDDEN"],
  [403, "STORE_FORBIDDEN"],
  [404, "STORE_NOT_FOUND"],
  [412, "STORE_EXISTS"],
  [507, "STORE_FULL"],
]);

const CODE_OF_NAME: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ["CredentialsProviderError", "STORE_FORBIDDEN"],
  ["QuotaExceeded", "STORE_FULL"],
  ["XMinioStorageFull", "STORE_FULL"],
  // Not a missing value: the whole place is.
  ["NoSuchBucket", "STORE_UNAVAILABLE"],
]);

/** Statuses below 500 that say "not now". */
const PASSING_STATUSES: ReadonlySet<number> = new Set([408, 409, 425, 429]);
const PASSING_NAMES: ReadonlySet<string> = new Set(["RequestTimeout", "SlowDown", "InternalError"]);

/** The typed error for `error`, met while doing `action` on `key`. */
export function s3Error(error: unknown, action: string, key: string): KvaultError {
  if (error instanceof KvaultError && error.code !== "STORE_UNAVAILABLE") return error;
  const { name, message } = error instanceof Error ? error : { name: "Error", message: String(error) };
  const status = statusOf(error);
  const known = CODE_OF_NAME.get(name) ?? CODE_OF_STATUS.get(status ?? 0) ?? "STORE_UNAVAILABLE";
  const code = isChecksumMismatch(error) ? "CACHE_CORRUPT" : known;
  const what = status === undefined ? message || errnoOf(error) : `${name} (${status}${message === name ? "" : `, ${message}`})`;
  return new KvaultError(code, `Cannot ${action} "${key}": ${what}`, {
    details: { key, ...(status === undefined ? {} : { status, s3Code: name }) },
    cause: error,
    ...(code === "STORE_UNAVAILABLE" && !isPassing(error) ? { retryable: false } : {}),
  });
}

/** True when the same request may succeed in a moment: no answer, a broken one, or "not now". */
export function isPassing(error: unknown): boolean {
  if (error instanceof KvaultError) return error.code === "STORE_UNAVAILABLE" && error.retryable;
  const { name } = error instanceof Error ? error : { name: "" };
  if (CODE_OF_NAME.has(name)) return false;
  const status = statusOf(error);
  if (status === undefined || PASSING_NAMES.has(name)) return true;
  return (status >= 500 && status !== 501 && status !== 507) || PASSING_STATUSES.has(status) || status < 300;
}

/** The SDK checks a body against the checksum that S3 keeps beside it. */
function isChecksumMismatch(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith("Checksum mismatch");
}

/** The HTTP status of the answer; undefined when there was none. */
function statusOf(error: unknown): number | undefined {
  const metadata = error instanceof Error && "$metadata" in error ? error.$metadata : undefined;
  const status = metadata instanceof Object && "httpStatusCode" in metadata ? metadata.httpStatusCode : undefined;
  return typeof status === "number" ? status : undefined;
}

function errnoOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "no answer";
}
