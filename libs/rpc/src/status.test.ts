import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { status as GrpcCode } from "@grpc/grpc-js";
import { ERROR_CODES, KvaultError } from "@kvault/core";
import { describe, expect, test } from "vitest";
import { BadRequestSchema, ResourceInfoSchema, RetryInfoSchema } from "#gen/google/rpc/error_details_pb.js";
import { fromGrpcError, fromRpcStatus, toGrpcStatus, toRpcStatus } from "./status.ts";

const overTheWire = (error: KvaultError, requestId?: string): KvaultError =>
  fromGrpcError(Object.assign(new Error("13 INTERNAL: as grpc-js words it"), toGrpcStatus(error, requestId)));

const detail = <T>(error: KvaultError, schema: Parameters<typeof anyUnpack>[1]): T | undefined =>
  toRpcStatus(error)
    .details.map((any) => anyUnpack(any, schema))
    .find((found) => found !== undefined) as T | undefined;

describe("toGrpcStatus() and fromGrpcError()", () => {
  test.each(ERROR_CODES.filter((code) => code !== "INTERNAL"))(
    "%s survives with code, message, details and retryable",
    (code) => {
      const error = new KvaultError(code, `Cannot do it: ${code}`, { details: { context: "contexts/a", tokens: 3 } });
      const revived = overTheWire(error);
      expect(revived).toMatchObject({ code, message: error.message, retryable: error.retryable });
      const asked = error.retryable ? { retryAfterMs: expect.stringMatching(/^\d+$/) } : {};
      expect(revived.details).toEqual({ context: "contexts/a", tokens: "3", ...asked });
    },
  );

  test("retryable set by hand survives", () => {
    expect(overTheWire(new KvaultError("STORE_FULL", "m", { retryable: true })).retryable).toBe(true);
    expect(overTheWire(new KvaultError("ENGINE_DIED", "m", { retryable: false })).retryable).toBe(false);
  });

  test("INTERNAL leaves with the request id and without its text", () => {
    const revived = overTheWire(new KvaultError("INTERNAL", "password is hunter2", { details: { path: "/etc" } }), "req-7");
    expect(revived.code).toBe("INTERNAL");
    expect(revived.message).toContain("req-7");
    expect(JSON.stringify([revived.message, revived.details])).not.toMatch(/hunter2|etc/);
  });

  test("lone surrogates and very long messages are sent cut, not thrown on", () => {
    const revived = overTheWire(
      new KvaultError("INVALID_ARGUMENT", `\ud800${"x".repeat(100_000)}`, { details: { field: "y".repeat(9_000) } }),
    );
    expect(revived.message.length).toBeLessThanOrEqual(2048);
    expect(String(revived.details["field"]).length).toBeLessThanOrEqual(512);
    expect(() => encodeURI(revived.message)).not.toThrow();
  });

  test("a status without our details is mapped by its gRPC code", () => {
    const plain = (code: GrpcCode) => fromGrpcError(Object.assign(new Error("x"), { code, details: "said so" }));
    const lost = "Received RST_STREAM with code 0 (Call ended without gRPC status)";
    const cut = Object.assign(new Error(lost), { code: GrpcCode.INTERNAL, details: lost });
    expect(fromGrpcError(cut)).toMatchObject({ code: "UNREACHABLE", retryable: true });
    expect(plain(GrpcCode.UNAVAILABLE)).toMatchObject({ code: "UNREACHABLE", retryable: true, message: "said so" });
    expect(plain(GrpcCode.DEADLINE_EXCEEDED).code).toBe("DEADLINE_EXCEEDED");
    expect(plain(GrpcCode.UNIMPLEMENTED).code).toBe("INTERNAL");
  });

  test("what is no gRPC error is INTERNAL with the cause kept", () => {
    const cause = new TypeError("boom");
    expect(fromGrpcError(cause)).toMatchObject({ code: "INTERNAL", cause });
  });
});

describe("toRpcStatus()", () => {
  test("names the field of bad input", () => {
    const error = new KvaultError("INVALID_ARGUMENT", "Cannot use ttl: 3 s", { details: { field: "ttl" } });
    expect(detail(error, BadRequestSchema)).toMatchObject({ fieldViolations: [{ field: "ttl", description: error.message }] });
    expect(detail(new KvaultError("SPEC_INVALID", "m"), BadRequestSchema)).toMatchObject({
      fieldViolations: [{ field: "compression.spec" }],
    });
  });

  test("tells when to retry, only when that may help", () => {
    expect(detail(new KvaultError("NO_CAPACITY", "m"), RetryInfoSchema)).toMatchObject({ retryDelay: { seconds: 1n } });
    const soon = new KvaultError("NO_CAPACITY", "m", { details: { retryAfterMs: 250 } });
    expect(detail(soon, RetryInfoSchema)).toMatchObject({ retryDelay: { seconds: 0n, nanos: 250e6 } });
    expect(detail(new KvaultError("CONTEXT_FAILED", "m"), RetryInfoSchema)).toBeUndefined();
  });

  test("names the missing context", () => {
    const error = new KvaultError("CONTEXT_NOT_FOUND", "m", { details: { context: "contexts/x" } });
    expect(detail(error, ResourceInfoSchema)).toMatchObject({ resourceType: "kvault.v1.Context", resourceName: "contexts/x" });
  });

  test("fromRpcStatus() revives it", () => {
    const error = new KvaultError("ENGINE_DIED", "Cannot go on: engine died", { details: { worker: "w1" } });
    expect(fromRpcStatus(toRpcStatus(error))).toMatchObject({
      code: "ENGINE_DIED",
      message: error.message,
      details: error.details,
      retryable: true,
    });
  });
});
