/**
 * What Redis and its client say → the store's own codes. Replies are told by their first word.
 *
 * @module
 */
import type { ErrorCode } from "@kvault/core";
import { KvaultError } from "@kvault/core";

const CODE_OF_REPLY: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ["OOM", "STORE_FULL"],
  ["NOAUTH", "STORE_FORBIDDEN"],
  ["NOPERM", "STORE_FORBIDDEN"],
  ["WRONGPASS", "STORE_FORBIDDEN"],
  ["WRONGTYPE", "CACHE_CORRUPT"],
]);

/** Replies of a server that is about to come up, or has just handed over to another. */
const PASSING_REPLIES: ReadonlySet<string> = new Set(["LOADING", "MASTERDOWN", "READONLY", "TRYAGAIN", "UNBLOCKED"]);

/** The typed error for `error`, met while doing `action` on `key`. */
export function redisError(error: unknown, action: string, key: string): KvaultError {
  // Ours already has a code; a bare wait that ran out has no subject yet.
  if (error instanceof KvaultError && error.code !== "STORE_UNAVAILABLE") return error;
  const message = error instanceof Error ? error.message : String(error);
  const denied = /^ERR ACL failure/.test(message);
  const code = denied ? "STORE_FORBIDDEN" : (CODE_OF_REPLY.get(replyWord(error)) ?? "STORE_UNAVAILABLE");
  return new KvaultError(code, `Cannot ${action} "${key}": ${message}`, { details: { key }, cause: error });
}

/** True when the connection broke or the server is on its way up: the same command may succeed in a moment. */
export function isPassing(error: unknown): boolean {
  if (error instanceof KvaultError) return false;
  const word = replyWord(error);
  return word === "" || PASSING_REPLIES.has(word);
}

/** The first word of an error reply; empty for what the client itself reports. */
function replyWord(error: unknown): string {
  return error instanceof Error && error.name === "ReplyError" ? (/^[A-Z]+/.exec(error.message)?.[0] ?? "ERR") : "";
}
