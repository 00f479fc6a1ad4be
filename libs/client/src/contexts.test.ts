import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { KvaultError } from "@kvault/core";
import {
  anyPack,
  Context_State,
  CreateContextMetadataSchema,
  type CreateContextRequest,
  create,
  type ListContextsRequest,
  Progress_Phase,
  toRpcStatus,
  type UpdateContextRequest,
  type UploadContextRequest,
} from "@kvault/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { type KvaultClient, openClient } from "./client.ts";
import { fieldViolations } from "./errors.ts";
import { lost, type Script, startScripted } from "./testing/scripted-gateway.ts";

const NAME = `contexts/c${"0".repeat(32)}`;
const MODEL = "tiny";

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function connected(contexts: NonNullable<Script["contexts"]>): Promise<KvaultClient> {
  const server = await startScripted({ contexts });
  closing.push(() => server.close({ drainMs: 0 }));
  const client = openClient(server.address, { retry: { initialMs: 1, maxMs: 5 } });
  closing.push(() => client.close());
  return client;
}

const operation = () => ({
  name: "operations/x",
  metadata: anyPack(CreateContextMetadataSchema, create(CreateContextMetadataSchema, { context: NAME })),
});

async function textOf(messages: AsyncIterable<UploadContextRequest>): Promise<{ text: string; pieces: number; model: string }> {
  const pieces: Uint8Array[] = [];
  let model = "";
  for await (const { payload } of messages) {
    if (payload.case === "request") model = payload.value.model;
    if (payload.case === "text") pieces.push(payload.value);
  }
  return { text: Buffer.concat(pieces).toString(), pieces: pieces.length, model };
}

describe("contexts.submit()", () => {
  test("sends what was set and nothing else", async () => {
    const seen: CreateContextRequest[] = [];
    const client = await connected({
      createContext: async (request) => {
        seen.push(request);
        return operation();
      },
    });
    const settings = { model: MODEL, keepRatio: 0.3, labels: { a: "b" }, ttlSeconds: 90, refreshOnUse: true, creationId: "x1" };
    expect(await client.contexts.submit({ text: "A text." }, settings)).toBe(NAME);
    await client.contexts.submit({ messages: [{ role: "user", content: "A text." }] }, { model: MODEL });
    expect(seen[0]).toMatchObject({
      model: MODEL,
      compression: { spec: "", keepRatio: 0.3 },
      labels: { a: "b" },
      ttl: { seconds: 90n },
      refreshOnUse: true,
      requestId: "x1",
    });
    expect(seen[1]?.compression?.keepRatio).toBeUndefined();
    expect(seen[1]?.ttl).toBeUndefined();
    expect(seen[1]?.content?.content.case).toBe("chat");
  });

  test("a text over one message, a file and a stream travel in pieces, byte for byte", async () => {
    const seen: Awaited<ReturnType<typeof textOf>>[] = [];
    const client = await connected({
      uploadContext: async (messages) => {
        seen.push(await textOf(messages));
        return operation();
      },
    });
    const folder = await mkdtemp(join(tmpdir(), "kvault-"));
    closing.push(() => rm(folder, { recursive: true }));
    const text = `é${randomBytes(2 * 2 ** 20).toString("hex")}`;
    const file = join(folder, "text.txt");
    await writeFile(file, text);
    async function* stream(): AsyncGenerator<string | Uint8Array> {
      yield Buffer.from(text).subarray(0, 1);
      yield Buffer.from(text).subarray(1, 10);
      yield Buffer.from(text).subarray(10).toString();
    }
    for (const source of [{ text }, { file }, { stream: stream() }]) await client.contexts.submit(source, { model: MODEL });
    expect(seen.map((upload) => [upload.text === text, upload.model])).toEqual([
      [true, MODEL],
      [true, MODEL],
      [true, MODEL],
    ]);
    expect(Math.min(...seen.map(({ pieces }) => pieces))).toBeGreaterThan(10);
  });

  test("an upload that was lost is made again from the beginning, unless its text can be read only once", async () => {
    let uploads = 0;
    const client = await connected({
      uploadContext: async (messages) => {
        const { text } = await textOf(messages);
        uploads += 1;
        if (uploads % 2 === 1) throw lost();
        expect(text).toContain("BEGIN");
        return operation();
      },
    });
    const text = `BEGIN${"x".repeat(4 * 2 ** 20)}`;
    expect(await client.contexts.submit({ text }, { model: MODEL })).toBe(NAME);
    async function* once(): AsyncGenerator<string> {
      yield text;
    }
    await expect(client.contexts.submit({ stream: once() }, { model: MODEL })).rejects.toMatchObject({ code: "UNREACHABLE" });
    expect(uploads).toBe(3);
  });

  test("a file that cannot be read is refused by name", async () => {
    const client = await connected({ uploadContext: async (messages) => textOf(messages).then(operation) });
    const missing = client.contexts.submit({ file: "/nowhere/text.txt" }, { model: MODEL });
    await expect(missing).rejects.toMatchObject({ code: "INVALID_ARGUMENT", details: { field: "file" } });
  });

  test("a refused field is named", async () => {
    const client = await connected({
      createContext: async () => {
        throw new KvaultError("INVALID_ARGUMENT", "Cannot keep 0.5 s", { details: { field: "ttl" } });
      },
    });
    const error = await client.contexts.submit({ text: "x" }, { model: MODEL }).catch((thrown: KvaultError) => thrown);
    expect(fieldViolations(error as KvaultError)).toEqual([{ field: "ttl", description: "Cannot keep 0.5 s" }]);
  });
});

describe("contexts.create() and watch()", () => {
  test("waits for the build over a lost watch, and shows its progress", async () => {
    let watches = 0;
    const client = await connected({
      createContext: async () => operation(),
      watchContext: async function* () {
        watches += 1;
        const progress = { phase: Progress_Phase.PREFILL, done: watches * 10, total: 20, restarts: 0 };
        yield { context: { name: NAME, state: Context_State.CREATING, progress } };
        if (watches === 1) throw lost();
        yield { context: { name: NAME, state: Context_State.ACTIVE, report: { storedBytes: 5n } } };
      },
    });
    const seen: unknown[] = [];
    const context = await client.contexts.create(
      { text: "A text." },
      { model: MODEL, onChange: ({ state, progress }) => seen.push([state, progress?.phase, progress?.done]) },
    );
    expect(context).toMatchObject({ name: NAME, state: "ACTIVE", report: { storedBytes: 5 } });
    expect(seen).toEqual([
      ["CREATING", "PREFILL", 10],
      ["CREATING", "PREFILL", 20],
      ["ACTIVE", undefined, undefined],
    ]);
  });

  test("a failed build is the build's own error; a deleted one is not found", async () => {
    const failure = toRpcStatus(new KvaultError("TOKEN_LIMIT", "Cannot read it: too long"));
    let isDeleted = false;
    const client = await connected({
      watchContext: async function* () {
        if (isDeleted) yield { deleted: true };
        else yield { context: { name: NAME, state: Context_State.FAILED, error: failure } };
      },
    });
    await expect(client.contexts.wait(NAME)).rejects.toMatchObject({ code: "TOKEN_LIMIT" });
    isDeleted = true;
    await expect(client.contexts.wait(NAME)).rejects.toMatchObject({ code: "CONTEXT_NOT_FOUND" });
  });
});

describe("contexts.list(), update()", () => {
  test("reads pages until the limit", async () => {
    const asked: ListContextsRequest[] = [];
    const client = await connected({
      listContexts: async (request) => {
        asked.push(request);
        const contexts = Array.from({ length: request.pageSize }, () => ({ name: NAME }));
        return { contexts, nextPageToken: String(asked.length) };
      },
    });
    const found: string[] = [];
    for await (const { name } of client.contexts.list({ limit: 450, states: ["ACTIVE"] })) found.push(name);
    expect(found).toHaveLength(450);
    expect(asked.map(({ pageSize, pageToken }) => [pageSize, pageToken])).toEqual([
      [200, ""],
      [200, "1"],
      [50, "2"],
    ]);
    expect(asked[0]?.states).toEqual([Context_State.ACTIVE]);
  });

  test("names in the mask what is changed; null takes the lifetime away", async () => {
    const asked: UpdateContextRequest[] = [];
    const client = await connected({
      updateContext: async (request) => {
        asked.push(request);
        return { name: NAME };
      },
    });
    await client.contexts.update(NAME, { pinned: false, ttlSeconds: null });
    await client.contexts.update(NAME.replace("contexts/", ""), { labels: {} }, { etag: "e" });
    expect(asked[0]).toMatchObject({ context: { name: NAME, pinned: false }, updateMask: { paths: ["expire_time", "pinned"] } });
    expect(asked[0]?.context?.ttl).toBeUndefined();
    expect(asked[1]).toMatchObject({ context: { name: NAME, etag: "e" }, updateMask: { paths: ["labels"] } });
  });

  test("an update with an etag is not repeated when it may have come through", async () => {
    let asked = 0;
    const client = await connected({
      updateContext: async () => {
        asked += 1;
        throw lost();
      },
    });
    await expect(client.contexts.update(NAME, { pinned: true }, { etag: "e" })).rejects.toMatchObject({ code: "UNREACHABLE" });
    expect(asked).toBe(1);
    await expect(client.contexts.update(NAME, { pinned: true })).rejects.toMatchObject({ code: "UNREACHABLE" });
    expect(asked).toBe(6);
  });
});
