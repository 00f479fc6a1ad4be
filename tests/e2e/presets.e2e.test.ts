/** Every preset of `kvault methods` builds a context of real weights and answers through the gateway. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Api, ask, build, connect, createRequest, refusal, submit } from "./support/api.ts";
import { kvault, type RunningProcess, SMALL_MODEL, start } from "./support/kvault.ts";
import { LETTER } from "./support/texts.ts";

interface Preset {
  readonly name: string;
  readonly codec: string;
  readonly needsProfile: readonly string[];
  readonly profiledFor: readonly string[];
}

/** About 280 tokens. */
const TEXT = [1, 2].map((page) => `Page ${page}.\n${LETTER}`).join("\n");
const QUESTION = "What colour is the boat?";
/** Header, offsets and tables of one layer's part. */
const OVERHEAD_BYTES = 4096;

/** Presets whose count depends on the text. */
const DECIDES_ITSELF: ReadonlySet<string> = new Set(["kvzap", "dbudgetkv", "leankv"]);

const { json } = await kvault(["methods", "--json"]);
const { presets } = json as { readonly presets: readonly Preset[] };

describe("every preset", () => {
  let dataDir = "";
  let up: RunningProcess;
  let api: Api;

  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), "kvault-e2e-"));
    up = await start(["up", "--json", "--address", "127.0.0.1:0", "--data-dir", dataDir]);
    api = await connect(String(up.ready["address"]));
  });
  afterAll(async () => {
    api.close();
    await up.stop();
    await rm(dataDir, { recursive: true, force: true });
  });

  test("of the design is there", () => {
    const designed =
      "kvault none kvzip kvzip-uniform kvzip-head kvzap compresskv snapkv pyramidkv adakv streaming-llm expected-attention keydiff l2norm r-kv dbudgetkv baklava clusterkv leankv kvsharer kv-compress kivi";
    expect(presets.map(({ name }) => name)).toEqual(expect.arrayContaining(designed.split(" ")));
  });

  test.each([...presets])("$name", async ({ name, needsProfile, profiledFor, codec }) => {
    const request = createRequest(TEXT, { compression: { spec: name } });
    if (needsProfile.length > 0 && !profiledFor.includes(SMALL_MODEL)) {
      const error = await refusal(submit(api, request));
      expect(error.code).toBe("PROFILE_NOT_FOUND");
      const [, named = ""] = /kvault calibrate --model smollm2-135m --profile ([a-z-]+)/.exec(error.message) ?? [];
      expect(needsProfile).toContain(named);
      return;
    }
    const context = await build(api, request);
    const report = context.report!;
    expect(report.spec).toContain(codec);
    expect(report.keptRatio).toBeLessThanOrEqual(report.keepRatio + 0.005);
    expect(report.keptRatio).toBeGreaterThan(DECIDES_ITSELF.has(name) ? 0.005 : report.keepRatio - 0.005);
    const fullBytes = (Number(report.keptPairs) / Number(report.totalPairs)) * Number(report.rawBytesF16);
    // Positions and clusters take a fortieth of a pair of 64 channels in halves.
    expect(Number(report.storedBytes)).toBeLessThan(fullBytes * 1.025 + report.layers.length * OVERHEAD_BYTES);
    if (codec === "f16") expect(Number(report.storedBytes)).toBeGreaterThan(fullBytes);
    const [first, second] = [await ask(api, context.name, QUESTION, 4), await ask(api, context.name, QUESTION, 4)];
    expect(first.answer.usage!.newTokens).toBeGreaterThan(0);
    expect(first.pieces.join("")).toBe(first.answer.text);
    expect(second.answer.text).toBe(first.answer.text);
  });
});
