/**
 * How a command ends: exit codes, and errors that say what happened and what to do next.
 *
 * @module
 */
import { type ErrorCode, type KvaultError, toKvaultError } from "@kvault/core";

/** Documented in docs/cli.md; scripts rely on them. */
export const EXIT = { ok: 0, failure: 1, usage: 2, interrupted: 130 } as const;

/** What was typed is at fault: no use in trying again. */
const USAGE: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "INVALID_ARGUMENT",
  "TOKEN_LIMIT",
  "SPEC_INVALID",
  "METHOD_NOT_FOUND",
  "MODEL_NOT_FOUND",
]);

const NEXT_STEP: Partial<Readonly<Record<ErrorCode, string>>> = {
  TOKEN_LIMIT: "Shorten the text, or take a model that reads more (`kvault model list`).",
  CONTEXT_NOT_FOUND: "See what is stored with `kvault context list`.",
  CONTEXT_NOT_READY: "Follow the build with `kvault context watch NAME`, then ask again.",
  CONTEXT_FAILED: "Create the context again; `kvault context get NAME` shows why it failed.",
  CONTEXT_EXPIRED: "Create the context again.",
  CONTEXT_DELETED: "Bring it back with `kvault context undelete NAME`.",
  CONTEXT_PINNED: "Unpin it with `kvault context unpin NAME`, or add --force.",
  CONTEXT_CHANGED: "Look at it again with `kvault context get NAME`, then repeat the command.",
  REQUEST_ID_REUSED: "Give every request an id of its own, and a repeated one the same options.",
  CACHE_CORRUPT: "The stored bytes are damaged: delete the context and create it again.",
  INCOMPATIBLE_MODEL: "The context was made with another model: create it again with this one.",
  INCOMPATIBLE_FORMAT: "The context was made by another version of kvault: create it again with this one.",
  MODEL_NOT_FOUND: "See the models with `kvault model list`.",
  SPEC_INVALID: "See the methods and their parameters with `kvault methods`.",
  METHOD_NOT_FOUND: "See the methods with `kvault methods`.",
  STORE_FULL: "Make room where the store is, or name another place with --data-dir or KVAULT_DATA_DIR.",
  STORE_FORBIDDEN: "Check who owns the store's folder.",
  ENGINE_DIED: "It was started again: repeat the command.",
  NO_CAPACITY: "The server is busy: repeat the command in a moment.",
  DRAINING: "The server is stopping: repeat the command when it is back.",
  UNREACHABLE: "Start a server with `kvault up`, or name one with --address.",
};

/** What came out was printed and is not good: nothing but the exit code and a word on stderr is left to give. */
export class ReportedFailure extends Error {
  override readonly name = "ReportedFailure";
}

export interface Failure {
  readonly exitCode: number;
  /** Lines for people. */
  readonly text: string;
  /** For `--json`; absent when the result was printed already. */
  readonly json?: {
    readonly error: { readonly code: ErrorCode; readonly message: string; readonly details: KvaultError["details"] };
  };
}

/** What to print and return for an error; `interrupted` when the user pressed Ctrl-C. */
export function describeFailure(thrown: unknown, interrupted: boolean): Failure {
  if (thrown instanceof ReportedFailure) return { exitCode: EXIT.failure, text: thrown.message };
  const error = toKvaultError(thrown);
  const { code, message, details } = error;
  const json = { error: { code, message, details } };
  if (interrupted) return { exitCode: EXIT.interrupted, text: "Interrupted.", json };
  const next = NEXT_STEP[code];
  const text = [`error: ${message} [${code}]`, ...(next === undefined ? [] : [next])].join("\n");
  return { exitCode: USAGE.has(code) ? EXIT.usage : EXIT.failure, text, json };
}
