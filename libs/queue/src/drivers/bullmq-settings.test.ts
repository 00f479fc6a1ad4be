import { expect, test } from "vitest";
import { parseQueueUrl, refuseEviction } from "./bullmq-settings.ts";

test("parseQueueUrl() has a default for all but the scheme", () => {
  expect(parseQueueUrl("redis://")).toMatchObject({
    queueName: "builds",
    prefix: "kvault",
    timeoutMs: 10_000,
    lockMs: 10_000,
    stalledMs: 2_500,
    maxStalled: 2,
    connection: { host: "127.0.0.1", port: 6379, db: 0 },
  });
});

test("parseQueueUrl() reads host, port, database, login and settings", () => {
  const settings = parseQueueUrl("rediss://me:p%40ss@[::1]:7000/3?queue=q1&maxStalled=0");
  expect(settings).toMatchObject({
    queueName: "q1",
    maxStalled: 0,
    connection: { host: "::1", port: 7000, db: 3, username: "me", password: "p@ss", tls: {} },
  });
});

test.each(["not a url", "redis://h/x", "redis://h?queue=A", "redis://h?lockMs=1e9", "redis://h?nothing=1"])(
  "parseQueueUrl(%s) is INVALID_ARGUMENT",
  (url) => {
    expect(() => parseQueueUrl(url)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", details: { field: "queueUrl" } }),
    );
  },
);

test("refuseEviction() lets noeviction pass and nothing else", () => {
  refuseEviction("used_memory:1\r\nmaxmemory_policy:noeviction\r\n");
  expect(() => refuseEviction("maxmemory_policy:volatile-lru\r\n")).toThrow('"volatile-lru"');
  expect(() => refuseEviction("")).toThrow('"unknown"');
});
