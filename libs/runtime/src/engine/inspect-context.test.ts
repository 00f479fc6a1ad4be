import { openMemoryStore, readManifest } from "@kvault/kvstore";
import { afterEach, describe, expect, test } from "vitest";
import { toyBuild } from "../testing/toy-requests.ts";
import { createToyRunner, makeToyResident, TOY_CONFIG } from "../testing/toy-runner.ts";
import { createEngineCore } from "./core.ts";
import type { EngineMethod, RequestOf, ResultOf } from "./messages.ts";
import type { EngineCore } from "./serve.ts";
import type { InspectContextRequest, KeptPairs } from "./types.ts";

const TEXT = "Grüße: the vault's combination is 7193; ✓ nobody may write it down. ".repeat(6);
const PREFIX = 5;
const cores: EngineCore[] = [];

afterEach(async () => {
  for (const core of cores.splice(0)) await core.close();
});

async function bench(spec: string) {
  const opened: string[] = [];
  const store = openMemoryStore();
  const openModel = async (model: string) => {
    opened.push(model);
    return createToyRunner();
  };
  const core = createEngineCore({ store, openModel, makeResident: makeToyResident, residentBytes: 2 ** 26, lostContextIds: [] });
  cores.push(core);
  const call = <M extends EngineMethod>(method: M, request: RequestOf<M>): Promise<ResultOf<M>> =>
    core.handlers[method](request, {
      signal: new AbortController().signal,
      emit: () => undefined,
      proceed: Promise.resolve(),
      waitedMs: 0,
    });
  const build = toyBuild(TEXT, spec);
  await call("build", build);
  opened.length = 0;
  const { contextId, digest, model, content, contentSha256 } = build;
  const request: InspectContextRequest = { contextId, digest, model, maxBins: 128, contentSha256: "" };
  return {
    opened,
    core,
    manifest: await readManifest(store, contextId),
    withText: { content, contentSha256 },
    inspect: (more: Partial<InspectContextRequest> = {}): Promise<KeptPairs> => call("inspectContext", { ...request, ...more }),
  };
}

const sum = (counts: Iterable<number>): number => [...counts].reduce((total, count) => total + count, 0);

describe("inspectContext()", () => {
  test("counts every kept pair once, row by row, and opens no model and loads no context for it", async () => {
    const { inspect, manifest, opened, core } = await bench("kvzip(chunk=64)|global|top-k(keep=0.3)|f16");
    const kept = await inspect({ maxBins: 10 });
    expect(kept).toMatchObject({ contextTokens: manifest.contextTokens, prefixTokens: PREFIX, numLayers: 3, numKvHeads: 2 });
    expect(kept.numBins).toBe(Math.ceil((PREFIX + manifest.contextTokens) / kept.binTokens));
    expect(kept.numBins).toBeLessThanOrEqual(10);
    const rows = Array.from({ length: 6 }, (_, row) => sum(kept.kept_LKB.subarray(row * kept.numBins, (row + 1) * kept.numBins)));
    expect(rows).toEqual(manifest.layers.flatMap(({ headLengths }) => headLengths));
    expect(kept.text).toEqual([]);
    expect(opened).toEqual([]);
    expect(core.snapshot().residentContextIds).toEqual([]);
  });

  test("gives the text back in whole characters, with what is kept of each", async () => {
    const { inspect, manifest, withText } = await bench("kvzip(chunk=64)|global|top-k(keep=0.3)|f16");
    const { text, textRows } = await inspect(withText);
    expect(text.map((piece) => piece.text).join("")).toBe(TEXT);
    expect(text.find((piece) => piece.text === "✓")).toMatchObject({ tokens: 3 });
    expect(textRows).toBe(TOY_CONFIG.numLayers * TOY_CONFIG.numKvHeads);
    expect(sum(text.map(({ tokens }) => tokens))).toBe(manifest.contextTokens);
    expect(sum(text.map(({ keptPairs }) => keptPairs))).toBe(manifest.report.keptPairs - PREFIX * textRows);
    for (const { tokens, keptPairs } of text) expect(keptPairs).toBeLessThanOrEqual(tokens * textRows);
  });

  test("counts one layer and head alone when asked", async () => {
    const { inspect, manifest, withText } = await bench("kvzip(chunk=64)|global|top-k(keep=0.3)|f16");
    const { text, textRows } = await inspect({ ...withText, layer: 1, kvHead: 0 });
    expect(textRows).toBe(1);
    expect(sum(text.map(({ keptPairs }) => keptPairs))).toBe((manifest.layers[1]?.headLengths[0] ?? 0) - PREFIX);
  });

  test.each<[string, string, Partial<InspectContextRequest>]>([
    ["a text that is not the context's", "INVALID_ARGUMENT", { content: { text: "Another." }, contentSha256: "0".repeat(64) }],
    ["a layer that is not there", "INVALID_ARGUMENT", { layer: 3 }],
    ["a head that is not there", "INVALID_ARGUMENT", { kvHead: 2 }],
    ["another digest", "INCOMPATIBLE_MODEL", { digest: "0".repeat(64) }],
    ["a context that is not there", "CONTEXT_NOT_FOUND", { contextId: `c${"0".repeat(32)}` }],
  ])("refuses %s", async (_, code, wrong) => {
    const { inspect } = await bench("none");
    await expect(inspect(wrong)).rejects.toMatchObject({ code });
  });
});
