/**
 * What to do about each error. The server says what could not be done and what it found; this says
 * what the person in front of the console can do next.
 *
 * @module
 */
const ADVICE: Readonly<Record<string, string>> = {
  INVALID_ARGUMENT: "Change the field that is named and try again.",
  SPEC_INVALID: "Change the method; `kvault methods` lists what there is.",
  METHOD_NOT_FOUND: "Choose another method; `kvault methods` lists what there is.",
  REQUEST_ID_REUSED: "Send the request again.",
  TOKEN_LIMIT: "Shorten the text or the answer, or choose a model that holds more.",
  UNAUTHENTICATED: "Sign in with a token; `kvault token create` makes one.",
  PERMISSION_DENIED: "Sign in with a token of a tenant: one of role service opens workers alone.",
  CONTEXT_NOT_FOUND: "It may be gone for good, or belong to another tenant. Look in the list of contexts.",
  CONTEXT_EXPIRED: "Create it again, with a longer lifetime or none.",
  CONTEXT_DELETED: "Undelete it from the list of contexts.",
  CONTEXT_NOT_READY: "Wait until its build is over: this page follows it.",
  CONTEXT_FAILED: "Read why its build failed, then create it again.",
  CONTEXT_PINNED: "Unpin it first (`kvault context update --no-pin`), or delete it with --force.",
  CONTEXT_CHANGED: "Somebody changed it meanwhile. Look at it again, then repeat what you did.",
  OPERATION_NOT_FOUND: "Look in the list of contexts.",
  REQUEST_NOT_FOUND: "The gateway remembers the last requests only; look in its log.",
  INCOMPATIBLE_MODEL: "It was made with another model or version. Create it again with this one.",
  INCOMPATIBLE_FORMAT: "Another version of KVault wrote it. Create it again.",
  CACHE_CORRUPT: "Its bytes are damaged. Create it again; the operator should look at the store.",
  MODEL_NOT_FOUND: "Choose a model from the list.",
  MODEL_UNAVAILABLE: "The model's file could not be had; try again in a while, or `kvault model pull` it.",
  MODEL_CORRUPT: "Remove the model's file and pull it again.",
  MODEL_UNSUPPORTED: "Choose another model.",
  PROFILE_NOT_FOUND: "Choose another method, or measure the model with `kvault calibrate`.",
  STORE_NOT_FOUND: "Try again; if it stays, the operator should look at the store.",
  STORE_EXISTS: "Try again.",
  STORE_FULL: "Delete contexts, or give the store more room.",
  STORE_UNAVAILABLE: "The store does not answer. Try again in a while.",
  STORE_FORBIDDEN: "The gateway or worker may not read the store: its operator should look at its rights and keys.",
  NO_CAPACITY: "All workers are busy. Try again in a while.",
  QUOTA_EXCEEDED: "Your tenant's quota is used up: delete contexts, wait, or ask for more.",
  ENGINE_DIED: "The model's process ended and is started again. Try again.",
  DRAINING: "The server is stopping. Try again in a moment.",
  UNREACHABLE: "The server cannot be reached. Check that it runs, then try again.",
  CLOSED: "The server is stopping. Try again in a moment.",
  DEADLINE_EXCEEDED: "It took too long. Try again, or ask for less.",
  CANCELLED: "It was stopped. Start it again when you like.",
  INTERNAL: "Look in the gateway's log for this request.",
};

export function adviceFor(code: string): string {
  return ADVICE[code] ?? "Try again; if it stays, look in the gateway's log.";
}

/** Codes with advice of their own. */
export const ADVISED: ReadonlySet<string> = new Set(Object.keys(ADVICE));
