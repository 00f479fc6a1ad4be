import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { checkpointsPrefix, deleteRecord, openFilesystemStore } from "@kvault/kvstore";
import { openHub } from "@kvault/model";
import { testModelPath } from "@kvault/model/testing";
import { expect, onTestFinished, test } from "vitest";
import { PREFILL_CHUNK_TOKENS } from "../prefill.ts";
import { buildRequest } from "../testing/build-request.ts";
import { openEngine } from "./client.ts";

const MODEL = "smollm2-135m";
/** Ten chunks and a bit. */
const TEXT = "The seventh vault holds the letters of the second keeper, who counted every lamp in the long hall. ".repeat(260);
const KILL_AT = 0.9;
const MAX_EXTRA = 0.15;

test("a builder that is killed at 90% of its prefill costs at most 15% more, and its successor builds the same record", async () => {
  const directory = await mkdtemp(join(tmpdir(), "kvault-checkpoints-"));
  const cacheDir = dirname(await testModelPath(MODEL));
  const engine = await openEngine({
    ...{ storeUrl: `file:${directory}`, cacheDir, offline: true, numThreads: 2, residentBytes: 0, activations: "int8" },
    checkpointTokens: 1_024,
  });
  const store = await openFilesystemStore(directory);
  onTestFinished(async () => {
    await engine.close();
    await store.close();
    await rm(directory, { recursive: true, force: true });
  });
  const hub = await openHub({ cacheDir, offline: true });
  const request = buildRequest(MODEL, hub.describe(MODEL).identity, TEXT, "none");

  const { manifest: whole } = await engine.build(request);
  const tokens = whole.prefixTokens + whole.contextTokens;
  expect(tokens).toBeGreaterThan(9 * PREFILL_CHUNK_TOKENS);
  expect(whole.report.resumedTokens).toBeUndefined();
  await deleteRecord(store, request.contextId);

  let prefilled = 0;
  const killed = engine.build(request, {
    onProgress: ({ phase, done }) => {
      if (phase !== "prefill") return;
      prefilled = done;
      if (done >= KILL_AT * tokens) process.kill(engine.status().pid as number, "SIGKILL");
    },
  });
  await expect(killed).rejects.toMatchObject({ code: "ENGINE_DIED" });
  const { manifest: resumed } = await engine.build(request);
  const resumedTokens = resumed.report.resumedTokens ?? 0;
  const extra = prefilled - resumedTokens;
  expect(resumedTokens % PREFILL_CHUNK_TOKENS).toBe(0);
  expect(extra / tokens).toBeLessThanOrEqual(MAX_EXTRA);
  expect(resumed.layers).toEqual(whole.layers);
  expect((await store.list(checkpointsPrefix(request.contextId))[Symbol.asyncIterator]().next()).done).toBe(true);
});
