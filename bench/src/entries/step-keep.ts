/**
 * What a context of 16,384 tokens costs in a step of 16 queries, kept whole and at 0.3: the time
 * of the step less that of the same step on 16 tokens. Keys and values are random, heads keep
 * unequal counts: what they hold does not matter for how long reading them takes.
 *
 * @module
 */
import { createRng, type RaggedLayerKv } from "@kvault/core";
import { type ModelRunner, type ResidentContext, residentContext } from "@kvault/runtime";
import { compare, mapped } from "../harness/compare.ts";
import type { Entry } from "../harness/entry.ts";
import { median } from "../harness/figure.ts";
import { measure, timed } from "../harness/measure.ts";
import { openStepper } from "./decode.ts";

const TOKENS = 16_384;
const KEEP = 0.3;
const QUERIES = 16;
/** One step a sample, so that a moment in which others use the machine costs one sample and is taken again. */
const STEPS = 15;

/** Heads keep between half and one and a half times the mean. */
export function randomContext({ config }: Pick<ModelRunner, "config">, tokens: number, keep: number): ResidentContext {
  const { numLayers, numKvHeads, headDim } = config;
  const rng = createRng(5);
  const layers = Array.from({ length: numLayers }, (): RaggedLayerKv => {
    const counts = Array.from({ length: numKvHeads }, (_, k) => {
      const lean = keep === 1 ? 0 : rng.next() - 0.5;
      return Math.max(1, Math.round(tokens * keep * (1 + (k % 2 === 0 ? lean : -lean))));
    });
    const offset = new Uint32Array(numKvHeads + 1);
    for (const [k, count] of counts.entries()) offset[k + 1] = offset[k] + count;
    const pairs = offset[numKvHeads];
    const draw = (): Float32Array => {
      const values = new Float32Array(pairs * headDim);
      for (let i = 0; i < values.length; i++) values[i] = rng.next() - 0.5;
      return values;
    };
    const position_n = new Uint32Array(pairs);
    for (let k = 0; k < numKvHeads; k++) for (let i = 0; i < counts[k]; i++) position_n[offset[k] + i] = i;
    return { numKvHeads, headDim, offset, position_n, key_nD: draw(), value_nD: draw() };
  });
  return residentContext(tokens, layers);
}

export const stepKeep: Entry = {
  names: ["step_keep"],
  async run(bench) {
    const runner = await bench.runner();
    const side = async (tokens: number, keep: number) => {
      const step = await openStepper(runner, randomContext(runner, tokens, keep), QUERIES);
      return { samples: STEPS, warmUps: 1, sample: () => timed(step) };
    };
    const { kept, whole, empty } = await measure({
      kept: await side(TOKENS, KEEP),
      whole: await side(TOKENS, 1),
      empty: await side(16, 1),
    });
    const base = median(empty.values);
    return [
      compare({
        name: "step_keep",
        summary: "what a context of 16,384 tokens adds to a step of 16 queries, keep 0.3",
        unit: "ms",
        rivalName: "ours, keep 1.0",
        ratioOf: "cost",
        target: 0.4,
        ours: mapped(kept, (ms) => ms - base),
        rival: mapped(whole, (ms) => ms - base),
        details: { stepMsOn16Tokens: Math.round(base * 10) / 10 },
      }),
    ];
  },
};
