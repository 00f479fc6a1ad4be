/**
 * What compressing adds to reading, at 4,096 tokens: the scoring passes, and encoding and
 * publishing a record.
 *
 * @module
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { resolveSpec } from "@kvault/compression";
import { isKvaultError } from "@kvault/core";
import type { BuildSeconds } from "@kvault/kvstore";
import type { ContextPrompt } from "@kvault/model";
import type { Engine, PrefilledContext } from "@kvault/runtime";
import { buildRequest } from "@kvault/runtime/testing";
import type { Bench } from "../harness/bench.ts";
import { compare } from "../harness/compare.ts";
import type { Entry } from "../harness/entry.ts";
import type { Figure } from "../harness/figure.ts";
import { startLoadMeter } from "../harness/load-meter.ts";
import { type Measured, measure, timed } from "../harness/measure.ts";

const TOKENS = 4096;
const WARM_UP_TOKENS = 512;
const SAMPLES = 2;
const PLAIN = "ours, reading alone";

/** Reading with more to it beside reading alone, in turns; graphs are loaded before. */
async function besideReading(
  bench: Bench,
  figure: Pick<Figure, "name" | "summary"> & { readonly target: number },
  build: (prompt: ContextPrompt) => Promise<PrefilledContext>,
): Promise<Figure> {
  const [runner, prompt, short] = [await bench.runner(), await bench.prompt(TOKENS), await bench.prompt(WARM_UP_TOKENS)];
  (await runner.prefill(short)).release();
  (await build(short)).release();
  const { plain, ours } = await measure({
    plain: { samples: SAMPLES, warmUps: 0, sample: () => timed(async () => (await runner.prefill(prompt)).release()) },
    ours: { samples: SAMPLES, warmUps: 0, sample: () => timed(async () => (await build(prompt)).release()) },
  });
  return compare({ ...figure, unit: "ms", rivalName: PLAIN, ratioOf: "cost", rival: plain, ours });
}

export const buildKvzip: Entry = {
  names: ["build_kvzip"],
  async run(bench) {
    const runner = await bench.runner();
    const pass = resolveSpec("kvzip").scorer.repeatPass;
    if (pass === undefined) throw new TypeError("Cannot measure KVzip: it asks for no repeat pass");
    const figure = { name: "build_kvzip", summary: "reading and KVzip's scoring pass, 4,096 tokens", target: 2.5 };
    const build = async (prompt: ContextPrompt): Promise<PrefilledContext> => {
      const context = await runner.prefill(prompt);
      await runner.repeatPass(context, pass);
      return context;
    };
    return [await besideReading(bench, figure, build)];
  },
};

export const buildSurrogate: Entry = {
  names: ["build_surrogate"],
  async run(bench) {
    const runner = await bench.runner();
    const { numLayers, hiddenSize, numKvHeads } = runner.config;
    // What is predicted does not matter for the cost.
    const surrogate = {
      weight_LMK: new Float32Array(numLayers * hiddenSize * numKvHeads),
      bias_LK: new Float32Array(numLayers * numKvHeads),
    };
    const figure = { name: "build_surrogate", summary: "reading with predicted scores, 4,096 tokens", target: 1.1 };
    return [await besideReading(bench, figure, (prompt) => runner.prefill(prompt, { surrogate }))];
  },
};

/** Seconds of the phases of one build into a store of its own. */
async function buildOnce(bench: Bench, engine: Engine, folder: string, spec: string, tokens = TOKENS): Promise<BuildSeconds> {
  await rm(join(folder, "v1"), { recursive: true, force: true });
  const { identity } = (await bench.hub()).describe(bench.model);
  const request = buildRequest(bench.model, identity, await bench.text(tokens), spec);
  return (await engine.build(request)).manifest.report.seconds;
}

/** Whether the model has what our own method needs. */
async function hasProfile(bench: Bench, engine: Engine, folder: string): Promise<boolean> {
  try {
    await buildOnce(bench, engine, folder, "kvault", WARM_UP_TOKENS);
    return true;
  } catch (error) {
    if (!isKvaultError(error, "PROFILE_NOT_FOUND")) throw error;
    bench.log(`build_kvault is left out: ${error.message}`);
    return false;
  }
}

export const buildRecord: Entry = {
  names: ["publish_share", "build_kvault"],
  async run(bench) {
    const folder = join(await bench.scratch(), "builds");
    const engine = await bench.startEngine({ storeUrl: `file:${folder}` });
    await engine.openModel(bench.model);
    const plainSpec = "none|uniform|top-k(keep=1)|pre-rope(keys=8,values=4)";
    const specs = (await hasProfile(bench, engine, folder)) ? [plainSpec, "kvault"] : [plainSpec];
    await buildOnce(bench, engine, folder, plainSpec); // loads the graph
    const built = new Map<string, BuildSeconds[]>(specs.map((spec) => [spec, []]));
    const meter = startLoadMeter();
    for (let run = 0; run < SAMPLES; run++) {
      for (const spec of specs) built.get(spec)?.push(await buildOnce(bench, engine, folder, spec));
    }
    const othersCores = meter.othersCores();
    const secondsOf = (spec: string, read: (seconds: BuildSeconds) => number): Measured => ({
      values: (built.get(spec) ?? []).map(read),
      othersCores,
    });
    const prefill = secondsOf(plainSpec, (seconds) => seconds.prefill);
    const shared = { unit: "s", rivalName: PLAIN, ratioOf: "cost", rival: prefill } as const;
    const figures = [
      compare({
        ...shared,
        name: "publish_share",
        summary: "compressing, encoding and publishing every pair of 4,096 tokens, quantised",
        target: 0.05,
        ours: secondsOf(plainSpec, ({ compress, publish }) => compress + publish),
      }),
    ];
    if (specs.includes("kvault")) {
      figures.push(
        compare({
          ...shared,
          name: "build_kvault",
          summary: "reading, predicted scores, refitted values and encoding, 4,096 tokens",
          target: 1.3,
          ours: secondsOf("kvault", (seconds) => seconds.prefill + seconds.score + seconds.compress),
        }),
      );
    }
    return figures;
  },
};
