import { failureOf, gate, untilAborted } from "@kvault/core/testing";
import type { MessageInitShape, UploadContextRequestSchema } from "@kvault/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { type Create, closeAll, MAX_TOKENS, MODEL, request, startStack } from "../testing/stack.ts";

afterEach(closeAll);

describe("UploadContext", () => {
  type Piece = MessageInitShape<typeof UploadContextRequestSchema>;
  async function* pieces(first: Create | undefined, ...texts: Uint8Array[]): AsyncGenerator<Piece> {
    if (first !== undefined) yield { payload: { case: "request", value: first } };
    for (const value of texts) yield { payload: { case: "text", value } };
  }

  test("text cut anywhere in UTF-8 is the same context as the whole text", async () => {
    const stack = await startStack();
    const text = "Größe €5 𝕏, BOM \ufeff inside.";
    const bytes = Buffer.from(text);
    const single = Array.from(bytes, (byte) => Uint8Array.of(byte));
    const uploaded = await stack.contexts.uploadContext(pieces({ model: MODEL }, ...single));
    expect(uploaded.name).toBe((await stack.contexts.createContext(request(text))).name);
    expect(stack.prefill[0]?.builds[0]?.content?.content.value).toBe(text);
  });

  test("a long text comes through in pieces", async () => {
    const stack = await startStack();
    const piece = Buffer.alloc(64 * 1024, "word ");
    const operation = await stack.contexts.uploadContext(pieces({ model: MODEL }, piece, piece, piece, piece, piece));
    await stack.operations.waitOperation({ name: operation.name });
    expect(stack.prefill[0]?.builds[0]?.content?.content.value).toHaveLength(5 * 64 * 1024);
  });

  test.each<[string, string, () => AsyncIterable<Piece>]>([
    ["INVALID_ARGUMENT", "request", () => pieces(undefined)],
    ["INVALID_ARGUMENT", "request", () => pieces(undefined, Buffer.from("x"))],
    ["INVALID_ARGUMENT", "text", () => pieces({ model: MODEL })],
    ["INVALID_ARGUMENT", "text", () => pieces({ model: MODEL }, Buffer.from([0xff]))],
    ["INVALID_ARGUMENT", "text", () => pieces({ model: MODEL }, Buffer.from("é").subarray(0, 1))],
    ["INVALID_ARGUMENT", "request.content", () => pieces(request("x"), Buffer.from("x"))],
    ["TOKEN_LIMIT", "content", () => pieces({ model: MODEL }, Buffer.alloc(8 * MAX_TOKENS), Buffer.alloc(8 * MAX_TOKENS + 1))],
  ])("refuses with %s naming %s (%#)", async (code, field, upload) => {
    const stack = await startStack();
    expect(await failureOf(stack.contexts.uploadContext(upload()))).toMatchObject({ code, details: { field } });
    expect((await stack.contexts.listContexts({})).contexts).toEqual([]);
  });

  test("an upload that is cut off makes no context", async () => {
    const stack = await startStack();
    const controller = new AbortController();
    const sent = gate();
    async function* cut(): AsyncGenerator<Piece> {
      yield { payload: { case: "request", value: { model: MODEL } } };
      yield { payload: { case: "text", value: Buffer.from("half of it") } };
      sent.pass();
      await untilAborted(controller.signal);
    }
    const upload = failureOf(stack.contexts.uploadContext(cut(), { signal: controller.signal }));
    await sent.passed;
    controller.abort();
    expect((await upload).code).toBe("CANCELLED");
    expect((await stack.contexts.listContexts({})).contexts).toEqual([]);
    expect(stack.prefill[0]?.builds).toEqual([]);
  });
});
