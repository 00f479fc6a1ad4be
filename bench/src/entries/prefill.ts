/**
 * Reading a long text for the first time.
 *
 * @module
 */
import { LLAMA_BATCH_TOKENS, LLAMA_SPARE_TOKENS } from "../harness/bench.ts";
import { compare } from "../harness/compare.ts";
import type { Entry } from "../harness/entry.ts";
import { measure, timed } from "../harness/measure.ts";
import { LLAMA_NAME } from "../rival/llama.ts";

const TOKENS = 4096;

export const prefill: Entry = {
  names: ["prefill_4k"],
  async run(bench) {
    const [runner, llama] = [await bench.runner(), await bench.llama()];
    const [prompt, ids] = [await bench.prompt(TOKENS), await bench.ids(TOKENS)];
    await llama.open({ sequences: 1, contextTokens: TOKENS + LLAMA_SPARE_TOKENS, batchTokens: LLAMA_BATCH_TOKENS });
    const perSecond = (ms: number): number => (ids.length * 1_000) / ms;
    // The sessions' memory is touched for the first time in a run that is not counted.
    const short = await bench.prompt(512);
    await runner.prefill(short).then((context) => context.release());
    await llama.prefill({ ids: ids.slice(0, 512) });
    const { ours, rival } = await measure({
      ours: {
        samples: 2,
        warmUps: 0,
        sample: async () => perSecond(await timed(async () => (await runner.prefill(prompt)).release())),
      },
      rival: { samples: 2, warmUps: 0, sample: async () => perSecond((await llama.prefill({ ids })).ms) },
    });
    return [
      compare({
        name: "prefill_4k",
        summary: "reading 4,096 tokens",
        unit: "tokens/s",
        rivalName: LLAMA_NAME,
        ratioOf: "rates",
        target: 2,
        ours,
        rival,
      }),
    ];
  },
};
