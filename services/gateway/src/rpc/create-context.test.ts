import { failureOf } from "@kvault/core/testing";
import { durationFromMs } from "@kvault/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { type Create, closeAll, MAX_TOKENS, MODEL, request, startStack } from "../testing/stack.ts";

afterEach(closeAll);

describe("CreateContext", () => {
  test.each<[string, string, Create]>([
    ["INVALID_ARGUMENT", "content.text", request("")],
    ["INVALID_ARGUMENT", "content", { model: MODEL }],
    [
      "INVALID_ARGUMENT",
      "content.chat.messages",
      { model: MODEL, content: { content: { case: "chat", value: { messages: [] } } } },
    ],
    [
      "INVALID_ARGUMENT",
      "content.chat.messages",
      { model: MODEL, content: { content: { case: "chat", value: { messages: [{ role: 3, content: "x" }] } } } },
    ],
    [
      "INVALID_ARGUMENT",
      "content.chat.messages[0].role",
      { model: MODEL, content: { content: { case: "chat", value: { messages: [{ role: 0, content: "x" }] } } } },
    ],
    ["TOKEN_LIMIT", "content", request("x".repeat(16 * MAX_TOKENS + 1))],
    ["INVALID_ARGUMENT", "model", request("x", { model: "" })],
    ["INVALID_ARGUMENT", "keep_ratio", request("x", { compression: { keepRatio: 0 } })],
    ["INVALID_ARGUMENT", "keep_ratio", request("x", { compression: { keepRatio: -0.5 } })],
    ["INVALID_ARGUMENT", "keep_ratio", request("x", { compression: { keepRatio: 1.5 } })],
    ["INVALID_ARGUMENT", "keep_ratio", request("x", { compression: { keepRatio: Number.NaN } })],
    ["INVALID_ARGUMENT", "ttl", request("x", { ttl: durationFromMs(59_999) })],
    ["INVALID_ARGUMENT", "ttl", request("x", { ttl: { seconds: -1n, nanos: 0 } })],
    ["INVALID_ARGUMENT", "ttl", request("x", { ttl: { seconds: 10_000_000_000n, nanos: 0 } })],
    ["INVALID_ARGUMENT", "display_name", request("x", { displayName: "n".repeat(257) })],
    ["INVALID_ARGUMENT", "labels", request("x", { labels: { "": "v" } })],
    ["INVALID_ARGUMENT", "labels", request("x", { labels: { ["k".repeat(65)]: "v" } })],
    ["INVALID_ARGUMENT", "labels", request("x", { labels: { k: "v".repeat(257) } })],
    [
      "INVALID_ARGUMENT",
      "labels",
      request("x", { labels: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`k${i}`, ""])) }),
    ],
  ])("refuses with %s naming %s (%#)", async (code, field, bad) => {
    const stack = await startStack();
    expect(await failureOf(stack.contexts.createContext(bad))).toMatchObject({ code, details: { field } });
    expect((await stack.contexts.listContexts({})).contexts).toEqual([]);
  });

  test("names the models there are when one is unknown, and the methods", async () => {
    const stack = await startStack();
    const noModel = await failureOf(stack.contexts.createContext(request("x", { model: "qwen9" })));
    expect(noModel.code).toBe("MODEL_NOT_FOUND");
    expect(noModel.message).toContain(MODEL);
    const noMethod = await failureOf(stack.contexts.createContext(request("x", { compression: { spec: "kvzipp" } })));
    expect(noMethod.code).toBe("METHOD_NOT_FOUND");
    expect(noMethod.message).toContain("kvzip");
    const badSpec = await failureOf(stack.contexts.createContext(request("x", { compression: { spec: "kvzip|global" } })));
    expect(badSpec.code).toBe("SPEC_INVALID");
  });

  test("a deadline already past is refused", async () => {
    const stack = await startStack();
    expect((await failureOf(stack.contexts.createContext(request("x"), { deadlineMs: Date.now() - 1 }))).code).toBe(
      "DEADLINE_EXCEEDED",
    );
    expect((await stack.contexts.listContexts({})).contexts).toEqual([]);
  });
});
