/**
 * A model with windowed layers, from a folder of safetensors, through a whole engine: built,
 * stored, loaded and asked.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { addLocalModel, type CatalogueEntry } from "@kvault/model";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildRequest } from "../testing/build-request.ts";
import { toyQuery } from "../testing/toy-requests.ts";
import { openEngine } from "./client.ts";
import type { Engine } from "./types.ts";

const MODEL = "tiny-gemma";
const GEMMA = fileURLToPath(new URL("../../../../tests/fixtures/tiny-models/gemma3", import.meta.url));
/** Letters are tokens of their own. */
const TEXT = "A window of eight tokens sees little of a text that goes on and on.";

describe("an engine running a model with windowed layers", () => {
  let scratch: string;
  let engine: Engine;
  let entry: CatalogueEntry;

  beforeAll(async () => {
    scratch = await mkdtemp(join(tmpdir(), "kvault-windowed-"));
    const cacheDir = join(scratch, "cache");
    entry = await addLocalModel(cacheDir, { name: MODEL, path: GEMMA, licence: "CC0-1.0" });
    engine = await openEngine({
      storeUrl: `file:${join(scratch, "store")}`,
      cacheDir,
      offline: true,
      numThreads: 1,
      residentBytes: 2 ** 26,
      activations: "f32",
    });
  });
  afterAll(async () => {
    await engine?.close();
    await rm(scratch, { recursive: true, force: true });
  });

  const build = (spec: string) => engine.build(buildRequest(MODEL, entry.identity, TEXT, spec));

  test.each([
    "kvzip(chunk=16)|global|top-k(keep=0.3)|f32",
    "snapkv|uniform|top-k(keep=0.3)|f32",
    "keydiff|uniform|top-k(keep=0.3)|f32",
    "expected-attention|uniform|top-k(keep=0.3)|f32",
  ])("evicts from the other layers only: %s", async (spec) => {
    const { manifest } = await build(spec);
    const { layers, report, nextPosition, prefixTokens } = manifest;
    expect(layers.map(({ windowTokens }) => windowTokens)).toEqual([8, undefined, 8, undefined]);
    expect(layers.map(({ headLengths }) => headLengths[0] === 8)).toEqual([true, false, true, false]);
    const evictable = [layers[1], layers[3]].reduce((sum, layer) => sum + (layer?.headLengths[0] ?? 0), 0);
    expect(evictable).toBe(2 * prefixTokens + Math.round(0.3 * 2 * (nextPosition - prefixTokens)));
    expect(report.keptRatio).toBeCloseTo(0.3, 2);
    expect(report.totalPairs).toBe(2 * nextPosition + 2 * 8);
  });

  test("answers a stored context as it answers the text itself", async () => {
    const { manifest } = await build("none|global|top-k(keep=1)|f32");
    const { contextId, digest } = manifest;
    const request = toyQuery(
      { ...buildRequest(MODEL, entry.identity, TEXT, "none|global|top-k(keep=1)|f32"), contextId, digest },
      " So?",
      {
        maxTokens: 12,
      },
    );
    const answer = async (query: typeof request): Promise<number[]> => {
      const ids: number[] = [];
      for await (const event of engine.query(query)) if (event.type !== "answer") ids.push(...event.tokenIds);
      return ids;
    };
    const stored = await answer(request);
    expect(stored.length).toBeGreaterThan(0);
    expect(await answer({ ...request, source: { type: "inline", content: { text: TEXT } } })).toEqual(stored);
  });
});
