import { KvaultError } from "@kvault/core";
import { describe, expect, test } from "vitest";
import { redisError, isPassing as redisPassing } from "./redis-errors.ts";
import { s3Error, isPassing as s3Passing } from "./s3-errors.ts";

function reply(message: string): Error {
  return Object.assign(new Error(message), { name: "ReplyError" });
}

describe("redisError()", () => {
  test.each([
    ["OOM command not allowed when used memory > 'maxmemory'.", "STORE_FULL", false],
    ["NOAUTH Authentication required.", "STORE_FORBIDDEN", false],
    ["WRONGPASS invalid username-password pair", "STORE_FORBIDDEN", false],
    ["NOPERM this user has no permissions", "STORE_FORBIDDEN", false],
    ["ERR ACL failure in script: User x has no permissions", "STORE_FORBIDDEN", false],
    ["WRONGTYPE Operation against a key holding the wrong kind of value", "CACHE_CORRUPT", false],
    ["MISCONF Redis is configured to save RDB snapshots", "STORE_UNAVAILABLE", false],
    ["LOADING Redis is loading the dataset in memory", "STORE_UNAVAILABLE", true],
    ["READONLY You can't write against a read only replica.", "STORE_UNAVAILABLE", true],
  ])("takes the reply %s for %s, tried again at once: %s", (message, code, passing) => {
    const error = redisError(reply(message), "get", "a.bin");
    expect([error.code, error.message, redisPassing(reply(message))]).toEqual([code, `Cannot get "a.bin": ${message}`, passing]);
  });

  test("takes what the client reports for a broken connection, and leaves typed errors alone", () => {
    expect(redisError(new Error("Connection is closed."), "get", "a.bin").code).toBe("STORE_UNAVAILABLE");
    expect(redisPassing(new Error("Connection is closed."))).toBe(true);
    const typed = new KvaultError("STORE_NOT_FOUND", "no such key");
    expect(redisError(typed, "get", "a.bin")).toBe(typed);
  });
});

function answer(status: number, name: string): Error {
  return Object.assign(new Error(name), { name, $metadata: { httpStatusCode: status } });
}

describe("s3Error()", () => {
  test.each([
    [answer(403, "AccessDenied"), "STORE_FORBIDDEN", false],
    [answer(404, "NoSuchKey"), "STORE_NOT_FOUND", false],
    [answer(404, "NoSuchBucket"), "STORE_UNAVAILABLE", false],
    [answer(409, "ConditionalRequestConflict"), "STORE_UNAVAILABLE", true],
    [answer(412, "PreconditionFailed"), "STORE_EXISTS", false],
    [answer(429, "TooManyRequests"), "STORE_UNAVAILABLE", true],
    [answer(400, "RequestTimeout"), "STORE_UNAVAILABLE", true],
    [answer(400, "InvalidRequest"), "STORE_UNAVAILABLE", false],
    [answer(500, "InternalError"), "STORE_UNAVAILABLE", true],
    [answer(501, "NotImplemented"), "STORE_UNAVAILABLE", false],
    [answer(503, "SlowDown"), "STORE_UNAVAILABLE", true],
    [answer(507, "InsufficientStorage"), "STORE_FULL", false],
    [Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" }), "STORE_UNAVAILABLE", true],
    [Object.assign(new Error("no credentials"), { name: "CredentialsProviderError" }), "STORE_FORBIDDEN", false],
  ])("takes %s for %s, tried again: %s", (found, code, passing) => {
    const error = s3Error(found, "get", "a.bin");
    expect([error.code, s3Passing(found)]).toEqual([code, passing]);
    expect(error.message).toMatch(/^Cannot get "a\.bin": ./);
  });

  test("takes a body that does not fit its checksum for corrupt", () => {
    expect(s3Error(new Error('Checksum mismatch: expected "a" but received "b"'), "get", "a.bin").code).toBe("CACHE_CORRUPT");
  });
});
