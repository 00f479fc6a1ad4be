import { join } from "node:path";
import { collect, gate } from "@kvault/core/testing";
import { contextDigest, createManifest, openMemoryStore, openRecordWriter, RECORD_FORMAT_VERSION } from "@kvault/kvstore";
import { publishSample } from "@kvault/kvstore/testing";
import { Context_State, durationFromMs } from "@kvault/rpc";
import { afterEach, describe, expect, test } from "vitest";
import { quickAnswer, startFakeWorker } from "./testing/fake-worker.ts";
import { closeAll, created, MODEL, onClose, request, startStack, temporaryFolder, textOf } from "./testing/stack.ts";

afterEach(closeAll);

describe("a gateway's own life", () => {
  test("after a restart it knows the records of the store", async () => {
    const store = openMemoryStore();
    const sha = (digit: string): string => digit.repeat(64);
    const identity = {
      weightsSha256: sha("1"),
      tokenizerSha256: sha("2"),
      templateSha256: sha("3"),
      rope: "rope(theta=1,dim=64)",
      contentSha256: sha("4"),
      spec: "none|uniform|top-k(keep=1)|f16",
      formatVersion: RECORD_FORMAT_VERSION,
      tenantSalt: "",
    };
    const id = `c${contextDigest(identity).slice(0, 32)}`;
    const writer = openRecordWriter(store, id);
    const part = await writer.putPart(Buffer.from("part"));
    await writer.commit(
      createManifest({
        identity,
        model: { name: MODEL, numLayers: 1, numKvHeads: 2, headDim: 4 },
        prefixTokens: 1,
        contextTokens: 3,
        codec: "f16",
        layers: [{ parts: [part], headLengths: [4, 2] }],
        report: {
          keepRatio: 1,
          queryAgnostic: true,
          seconds: { queue: 0, load: 0, prefill: 1, score: 0, compress: 0, publish: 0 },
        },
        displayName: "kept",
        labels: { a: "b" },
        createTimeMs: 1_000,
        expireTimeMs: 0,
      }),
    );
    const stack = await startStack({}, { store });
    const context = await stack.contexts.getContext({ name: `contexts/${id}` });
    expect(context).toMatchObject({ state: Context_State.ACTIVE, displayName: "kept", labels: { a: "b" }, model: MODEL });
    expect(context.report).toMatchObject({ keptPairs: 6n, totalPairs: 8n, layers: [{ keptPerHead: [4, 2], storedBytes: 4n }] });
    const events = await collect(stack.inference.query({ source: { case: "context", value: context.name }, question: "What?" }));
    expect(textOf(events)).toBe("a b");
    await stack.contexts.deleteContext({ name: context.name, purge: true });
    expect(await collect(store.list("v1/contexts/"))).toEqual([]);
  });

  test("after a restart a context is as it was changed last: pinned, renamed, deleted, or back", async () => {
    const store = openMemoryStore();
    const { contextId } = await publishSample(store, "Some text.");
    const name = `contexts/${contextId}`;
    const first = await startStack({}, { store });
    const changed = await first.contexts.updateContext({
      context: {
        name,
        displayName: "changed",
        labels: { c: "d" },
        ttl: durationFromMs(3_600_000),
        refreshOnUse: true,
        pinned: true,
      },
    });
    const second = await startStack({}, { store });
    expect(await second.contexts.getContext({ name })).toEqual(changed);
    await second.contexts.deleteContext({ name, force: true });
    const third = await startStack({}, { store });
    expect((await third.contexts.getContext({ name })).state).toBe(Context_State.DELETED);
    expect((await third.contexts.listContexts({})).contexts).toEqual([]);
    await third.contexts.undeleteContext({ name });
    const fourth = await startStack({}, { store });
    expect(await fourth.contexts.getContext({ name })).toMatchObject({
      state: Context_State.ACTIVE,
      displayName: "changed",
      pinned: true,
    });
  });

  test("close() lets a query under way finish", async () => {
    const started = gate();
    const finish = gate();
    const stack = await startStack({
      decode: [
        {
          async *execute(request) {
            started.pass();
            await finish.passed;
            yield* quickAnswer(request);
          },
        },
      ],
    });
    const name = await created(stack, "Text.");
    const answer = collect(stack.inference.query({ source: { case: "context", value: name }, question: "What?" }));
    await started.passed;
    const closed = stack.gateway.close({ drainMs: 5_000 });
    finish.pass();
    expect(textOf(await answer)).toBe("a b");
    await closed;
    await stack.gateway.close();
  });

  test("workers that come up later are found when they are needed", async () => {
    const dir = await temporaryFolder();
    const late = `unix:${join(dir, "late.sock")}`;
    const stack = await startStack({ prefill: [] }, { prefillWorkers: [late] });
    const operation = await stack.contexts.createContext(request("Text."));
    const worker = await startFakeWorker(late);
    onClose(() => worker.server.close({ drainMs: 0 }));
    expect((await stack.operations.waitOperation({ name: operation.name })).result.case).toBe("response");
  });
});
