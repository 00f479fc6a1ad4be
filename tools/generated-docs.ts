/**
 * The generated sections of the documentation, by name.
 *
 * @module
 */
import { describeMethods, type PartDescription } from "@kvault/compression";
import { ERROR_CODES, type ErrorCode, KvaultError } from "@kvault/core";
import { toRpcStatus } from "@kvault/rpc";
import { accuracyTables } from "./accuracy-table.ts";
import { apiReference } from "./api-reference.ts";
import { ratiosPlot } from "./bench-plot.ts";
import { benchTable } from "./bench-table.ts";
import { cliReference } from "./cli-reference.ts";
import { configReference } from "./config-reference.ts";
import { metricsReference } from "./metrics-reference.ts";

type Generator = () => string | Promise<string>;

/** Name of a `generated:` section → what it holds. */
export const GENERATED: Readonly<Record<string, Generator>> = {
  accuracy: accuracyTables,
  api: apiReference,
  errors: errorTable,
  presets: presetTable,
  scorers: () => partTable(describeMethods().scorers),
  allocators: () => partTable(describeMethods().allocators),
  selectors: () => partTable(describeMethods().selectors),
  bench: () => benchTable(),
  cli: cliReference,
  config: configReference,
  metrics: metricsReference,
  refits: () => partTable(describeMethods().refits),
  codecs: () => partTable(describeMethods().codecs),
};

/** Path of a generated picture → what it holds. */
export const PICTURES: Readonly<Record<string, () => string>> = {
  "docs/assets/bench-ratios.svg": ratiosPlot,
};

/** gRPC status names by number: https://grpc.github.io/grpc/core/md_doc_statuscodes.html. */
const STATUS_NAMES = [
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
] as const;

/** A new code does not compile until it is explained. */
const MEANINGS: Readonly<Record<ErrorCode, string>> = {
  INVALID_ARGUMENT: "a field of the request is wrong; the details name it",
  DEADLINE_EXCEEDED: "the caller's deadline passed, or had passed before",
  CANCELLED: "the caller left, or stopped taking what was streamed",
  UNAUTHENTICATED: "no valid credentials came with the call",
  PERMISSION_DENIED: "these credentials do not allow it",
  TOKEN_LIMIT: "context, question and answer do not fit the model",
  CONTEXT_NOT_FOUND: "no such context",
  CONTEXT_NOT_READY: "the context is still being built; the details say how far it is",
  CONTEXT_FAILED: "the context could not be built; the details say why",
  CONTEXT_EXPIRED: "its lifetime is over",
  CONTEXT_DELETED: "the context is deleted; the details say until when it can be undeleted",
  CONTEXT_PINNED: "the context is pinned: unpin it, or delete it with `force`",
  CONTEXT_CHANGED: "somebody changed the context since its etag was read: read it again",
  REQUEST_ID_REUSED: "another request had this request id",
  OPERATION_NOT_FOUND: "no such operation",
  REQUEST_NOT_FOUND: "this gateway does not remember the request",
  INCOMPATIBLE_MODEL: "the record was made with other weights, tokenizer, template or rotation; the details name the field",
  INCOMPATIBLE_FORMAT: "the record was written by a version that this one cannot read",
  CACHE_CORRUPT: "stored bytes are not what was stored; they are not served",
  MODEL_NOT_FOUND: "the catalogue has no such model",
  MODEL_UNAVAILABLE: "the weight file is not here and cannot be fetched now",
  MODEL_CORRUPT: "the weight file is damaged, truncated or not the pinned one",
  MODEL_UNSUPPORTED: "no family for its architecture, or a tensor type that cannot be read",
  SPEC_INVALID: "the method's text cannot be read; the details say where",
  METHOD_NOT_FOUND: "no preset or part of that name",
  PROFILE_NOT_FOUND: "the method needs a measurement of the model that was not made; the message says how to make it",
  STORE_NOT_FOUND: "no such key in the store",
  STORE_EXISTS: "the key is taken",
  STORE_FULL: "no room left where the store is",
  STORE_UNAVAILABLE: "the store does not answer",
  STORE_FORBIDDEN: "the store refuses these credentials, or the folder belongs to someone else",
  NO_CAPACITY: "too much work is waiting",
  QUOTA_EXCEEDED: "a limit of this caller is used up",
  ENGINE_DIED: "the process that runs the model ended; it is started again",
  DRAINING: "the server is stopping",
  UNREACHABLE: "nothing answers at that address",
  CLOSED: "the object was closed before",
  INTERNAL: "a fault of ours",
};

function errorTable(): string {
  const rows = ERROR_CODES.map((code) => {
    const error = new KvaultError(code, code);
    return [`\`${code}\``, `\`${STATUS_NAMES[toRpcStatus(error).code] ?? "?"}\``, error.retryable ? "yes" : "", MEANINGS[code]];
  });
  return table(["code", "gRPC status", "retry", "what happened"], rows);
}

function presetTable(): string {
  const rows = describeMethods().presets.map(({ name, summary, spec, needs, needsProfile: profiles, ragged, paper: source }) => [
    `\`${name}\``,
    summary,
    `\`${spec}\``,
    [...needs, ...profiles.map((profile) => `profile ${profile}`)].join(", "),
    ragged ? "yes" : "",
    source,
  ]);
  return table(["preset", "what it does", "as a spec", "needs", "ragged", "from"], rows);
}

function partTable(parts: readonly PartDescription[]): string {
  const rows = parts.map(({ name, summary, source, params }) => {
    const described = params.map((param) => {
      const values = param.values === undefined ? "" : ` (${param.values.map((value) => `\`${value}\``).join(", ")})`;
      const written = param.default === undefined ? param.name : `${param.name}=${param.default}`;
      return `\`${written}\` ${param.summary}${values}`;
    });
    return [`\`${name}\``, summary, described.join("; "), source];
  });
  return table(["name", "what it does", "parameters and defaults", "from"], rows);
}

/** A Markdown table. */
function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");
  const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(" | ")} |`;
  return [line(headings), line(headings.map(() => "---")), ...rows.map(line)].join("\n");
}
