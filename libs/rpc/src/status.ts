/**
 * The one mapping between {@link KvaultError} and gRPC status, in both directions.
 *
 * Every error leaves with a google.rpc.Status in `grpc-status-details-bin`:
 * ErrorInfo{reason: our code, domain: "kvault", metadata: our details as strings}, then
 * BadRequest (which field), QuotaFailure (whose quota), RetryInfo (retryable: wait at least this
 * long) and ResourceInfo (which context) where they apply. What is INTERNAL keeps its text inside: the outside gets a
 * request id to quote. `fromGrpcError` revives the error; details come back as strings.
 *
 * Trailers travel in HTTP/2 headers, so message and details are cut to named limits.
 *
 * @module
 */
import {
  create,
  createRegistry,
  type DescMessage,
  fromBinary,
  type MessageShape,
  type Registry,
  toBinary,
} from "@bufbuild/protobuf";
import { type Any, anyPack, anyUnpack, durationMs } from "@bufbuild/protobuf/wkt";
import { status as GrpcCode, Metadata, type StatusObject } from "@grpc/grpc-js";
import { ERROR_CODES, type ErrorCode, type ErrorDetails, KvaultError } from "@kvault/core";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
} from "#gen/google/rpc/error_details_pb.js";
import { type Status, StatusSchema } from "#gen/google/rpc/status_pb.js";

/** `ErrorInfo.domain` of everything we report. */
const ERROR_DOMAIN = "kvault";

/** What a Status may carry: for those who write one as JSON. */
export const STATUS_DETAIL_TYPES: Registry = createRegistry(
  BadRequestSchema,
  ErrorInfoSchema,
  QuotaFailureSchema,
  ResourceInfoSchema,
  RetryInfoSchema,
);

/** Longest message sent, characters. Headers of one response share 64 KiB. */
const MAX_MESSAGE_CHARS = 2048;
/** Longest value of one detail, characters, and most details sent. */
const MAX_DETAIL_CHARS = 512;
const MAX_DETAILS = 32;

const STATUS_DETAILS_KEY = "grpc-status-details-bin";

/** gRPC status of every code; a new code does not compile until it is mapped here. */
const GRPC_CODE: Readonly<Record<ErrorCode, GrpcCode>> = {
  INVALID_ARGUMENT: GrpcCode.INVALID_ARGUMENT,
  DEADLINE_EXCEEDED: GrpcCode.DEADLINE_EXCEEDED,
  CANCELLED: GrpcCode.CANCELLED,
  UNAUTHENTICATED: GrpcCode.UNAUTHENTICATED,
  PERMISSION_DENIED: GrpcCode.PERMISSION_DENIED,
  TOKEN_LIMIT: GrpcCode.INVALID_ARGUMENT,
  CONTEXT_NOT_FOUND: GrpcCode.NOT_FOUND,
  CONTEXT_NOT_READY: GrpcCode.FAILED_PRECONDITION,
  CONTEXT_FAILED: GrpcCode.FAILED_PRECONDITION,
  CONTEXT_EXPIRED: GrpcCode.NOT_FOUND,
  CONTEXT_DELETED: GrpcCode.NOT_FOUND,
  CONTEXT_PINNED: GrpcCode.FAILED_PRECONDITION,
  CONTEXT_CHANGED: GrpcCode.ABORTED,
  REQUEST_ID_REUSED: GrpcCode.INVALID_ARGUMENT,
  OPERATION_NOT_FOUND: GrpcCode.NOT_FOUND,
  REQUEST_NOT_FOUND: GrpcCode.NOT_FOUND,
  INCOMPATIBLE_MODEL: GrpcCode.FAILED_PRECONDITION,
  INCOMPATIBLE_FORMAT: GrpcCode.FAILED_PRECONDITION,
  CACHE_CORRUPT: GrpcCode.DATA_LOSS,
  MODEL_NOT_FOUND: GrpcCode.NOT_FOUND,
  MODEL_UNAVAILABLE: GrpcCode.UNAVAILABLE,
  MODEL_CORRUPT: GrpcCode.DATA_LOSS,
  MODEL_UNSUPPORTED: GrpcCode.FAILED_PRECONDITION,
  SPEC_INVALID: GrpcCode.INVALID_ARGUMENT,
  METHOD_NOT_FOUND: GrpcCode.INVALID_ARGUMENT,
  PROFILE_NOT_FOUND: GrpcCode.FAILED_PRECONDITION,
  STORE_NOT_FOUND: GrpcCode.NOT_FOUND,
  STORE_EXISTS: GrpcCode.ALREADY_EXISTS,
  STORE_FULL: GrpcCode.RESOURCE_EXHAUSTED,
  STORE_UNAVAILABLE: GrpcCode.UNAVAILABLE,
  STORE_FORBIDDEN: GrpcCode.FAILED_PRECONDITION,
  NO_CAPACITY: GrpcCode.RESOURCE_EXHAUSTED,
  QUOTA_EXCEEDED: GrpcCode.RESOURCE_EXHAUSTED,
  ENGINE_DIED: GrpcCode.UNAVAILABLE,
  DRAINING: GrpcCode.UNAVAILABLE,
  UNREACHABLE: GrpcCode.UNAVAILABLE,
  CLOSED: GrpcCode.UNAVAILABLE,
  INTERNAL: GrpcCode.INTERNAL,
};

/** Code of a status that carries no ErrorInfo of ours: made by gRPC itself, a proxy or a stranger. */
const FOREIGN_CODE: Readonly<Record<GrpcCode, ErrorCode>> = {
  [GrpcCode.OK]: "INTERNAL",
  [GrpcCode.CANCELLED]: "CANCELLED",
  [GrpcCode.UNKNOWN]: "INTERNAL",
  [GrpcCode.INVALID_ARGUMENT]: "INVALID_ARGUMENT",
  [GrpcCode.DEADLINE_EXCEEDED]: "DEADLINE_EXCEEDED",
  [GrpcCode.NOT_FOUND]: "INTERNAL",
  [GrpcCode.ALREADY_EXISTS]: "INTERNAL",
  [GrpcCode.PERMISSION_DENIED]: "PERMISSION_DENIED",
  [GrpcCode.RESOURCE_EXHAUSTED]: "QUOTA_EXCEEDED",
  [GrpcCode.FAILED_PRECONDITION]: "INTERNAL",
  [GrpcCode.ABORTED]: "INTERNAL",
  [GrpcCode.OUT_OF_RANGE]: "INVALID_ARGUMENT",
  [GrpcCode.UNIMPLEMENTED]: "INTERNAL",
  [GrpcCode.INTERNAL]: "INTERNAL",
  [GrpcCode.UNAVAILABLE]: "UNREACHABLE",
  [GrpcCode.DATA_LOSS]: "INTERNAL",
  [GrpcCode.UNAUTHENTICATED]: "UNAUTHENTICATED",
};

/** What grpc-js says, as INTERNAL, of a call whose connection went before its status came. */
const STREAM_LOST = /^Received RST_STREAM with code [0278]\b/;

/** Codes about one field of the request, and the field when the error does not name it. */
const BAD_REQUEST_FIELD: Partial<Readonly<Record<ErrorCode, string>>> = {
  INVALID_ARGUMENT: "",
  TOKEN_LIMIT: "",
  SPEC_INVALID: "compression.spec",
  METHOD_NOT_FOUND: "compression.spec",
};

/** The least wait before a retry, by code; 1 s for the rest. */
const RETRY_DELAY_MS: Partial<Readonly<Record<ErrorCode, number>>> = {
  CONTEXT_NOT_READY: 2000,
  ENGINE_DIED: 500,
  UNREACHABLE: 500,
};

/** {@link KvaultError} → google.rpc.Status, as carried by trailers, operations and batch events. */
export function toRpcStatus(error: KvaultError, requestId?: string): Status {
  const shown = error.code === "INTERNAL" ? concealed(requestId) : error;
  const message = wellFormed(shown.message, MAX_MESSAGE_CHARS);
  const metadata = Object.fromEntries(
    Object.entries(shown.details)
      .slice(0, MAX_DETAILS)
      .map(([key, value]) => [key, wellFormed(String(value), MAX_DETAIL_CHARS)]),
  );
  const details: Any[] = [
    anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason: shown.code, domain: ERROR_DOMAIN, metadata })),
  ];
  const field = BAD_REQUEST_FIELD[shown.code];
  if (field !== undefined) {
    const violation = { field: metadata["field"] ?? field, description: message };
    details.push(anyPack(BadRequestSchema, create(BadRequestSchema, { fieldViolations: [violation] })));
  }
  if (shown.retryable) {
    const delayMs = retryDelayMs(shown);
    const retryDelay = { seconds: BigInt(Math.floor(delayMs / 1000)), nanos: (delayMs % 1000) * 1e6 };
    details.push(anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay })));
  }
  if (shown.code === "QUOTA_EXCEEDED") {
    const violation = { subject: metadata["subject"] ?? "", description: message };
    details.push(anyPack(QuotaFailureSchema, create(QuotaFailureSchema, { violations: [violation] })));
  }
  if (shown.code === "CONTEXT_NOT_FOUND") {
    const resourceName = metadata["context"] ?? (metadata["contextId"] === undefined ? "" : `contexts/${metadata["contextId"]}`);
    const resource = { resourceType: "kvault.v1.Context", resourceName, description: message };
    details.push(anyPack(ResourceInfoSchema, create(ResourceInfoSchema, resource)));
  }
  return create(StatusSchema, { code: GRPC_CODE[shown.code], message, details });
}

/** How long the error itself asks to wait before another try; undefined when it does not say. */
export function retryAfterMs({ details }: KvaultError): number | undefined {
  const said = Number(details["retryAfterMs"]);
  return said > 0 && Number.isFinite(said) ? said : undefined;
}

/** What the error itself says, else what its code does. */
export function retryDelayMs(error: KvaultError): number {
  return Math.round(retryAfterMs(error) ?? RETRY_DELAY_MS[error.code] ?? 1000);
}

/** google.rpc.Status → {@link KvaultError}. A status of a stranger is mapped by its gRPC code alone. */
export function fromRpcStatus(status: Status): KvaultError {
  for (const any of status.details) {
    const info = unpackOrNothing(any, ErrorInfoSchema);
    if (info === undefined || info.domain !== ERROR_DOMAIN) continue;
    const code = (ERROR_CODES as readonly string[]).includes(info.reason) ? (info.reason as ErrorCode) : "INTERNAL";
    const retry = status.details.map((each) => unpackOrNothing(each, RetryInfoSchema)).find((found) => found !== undefined);
    const asked = retry?.retryDelay === undefined ? {} : { retryAfterMs: String(Math.round(durationMs(retry.retryDelay))) };
    return new KvaultError(code, status.message, { details: { ...asked, ...info.metadata }, retryable: retry !== undefined });
  }
  return new KvaultError(FOREIGN_CODE[status.code as GrpcCode] ?? "INTERNAL", status.message);
}

/** {@link KvaultError} → what grpc-js sends: code, text, and the whole Status in the trailers. */
export function toGrpcStatus(error: KvaultError, requestId?: string): StatusObject {
  const status = toRpcStatus(error, requestId);
  const metadata = new Metadata();
  metadata.set(STATUS_DETAILS_KEY, Buffer.from(toBinary(StatusSchema, status)));
  return { code: status.code as GrpcCode, details: status.message, metadata };
}

/** What a grpc-js call failed with → {@link KvaultError}. Errors of other kinds are INTERNAL. */
export function fromGrpcError(error: unknown): KvaultError {
  if (error instanceof KvaultError) return error;
  if (!isStatusObject(error)) {
    const message = error instanceof Error ? error.message : String(error);
    return new KvaultError("INTERNAL", message, { cause: error });
  }
  const [packed] = error.metadata?.get(STATUS_DETAILS_KEY) ?? [];
  if (packed instanceof Uint8Array) {
    const status = parseOrNothing(packed);
    if (status !== undefined && status.code === error.code) return fromRpcStatus(status);
  }
  const code = STREAM_LOST.test(error.details) ? "UNREACHABLE" : (FOREIGN_CODE[error.code] ?? "INTERNAL");
  return new KvaultError(code, error.details, { cause: error });
}

function isStatusObject(error: unknown): error is Pick<StatusObject, "code" | "details"> & { metadata?: Metadata } {
  return error instanceof Error && typeof (error as { code?: unknown }).code === "number" && "details" in error;
}

function concealed(requestId: string | undefined): KvaultError {
  const details: ErrorDetails = requestId === undefined ? {} : { requestId };
  return new KvaultError(
    "INTERNAL",
    requestId === undefined ? "Internal error" : `Internal error: quote request "${requestId}"`,
    { details },
  );
}

/** No lone surrogates (encodeURI would throw on them) and no more than `maxChars`. */
function wellFormed(text: string, maxChars: number): string {
  const cut = text.length > maxChars ? `${text.slice(0, maxChars - 1)}…` : text;
  return Buffer.from(cut, "utf8").toString("utf8");
}

function unpackOrNothing<D extends DescMessage>(any: Any, schema: D): MessageShape<D> | undefined {
  try {
    return anyUnpack(any, schema);
  } catch {
    return undefined;
  }
}

function parseOrNothing(bytes: Uint8Array): Status | undefined {
  try {
    return fromBinary(StatusSchema, bytes);
  } catch {
    return undefined;
  }
}
