/**
 * Answers on a stored context of 4,096 tokens, KVzip keeping 0.3: one query alone, 16 and 32
 * together. llama.cpp restores its saved state into each of its sequences.
 *
 * @module
 */
import type { ResidentContext, TrainableRunner } from "@kvault/runtime";
import { LLAMA_BATCH_TOKENS, LLAMA_SPARE_TOKENS } from "../harness/bench.ts";
import { compare } from "../harness/compare.ts";
import type { Entry } from "../harness/entry.ts";
import { median } from "../harness/figure.ts";
import { measure, timed } from "../harness/measure.ts";
import { LLAMA_NAME } from "../rival/llama.ts";

const TOKENS = 4096;
export const SPEC = "kvzip|global|top-k(keep=0.3)|pre-rope(keys=8,values=4)";
const STEPS = 16;
const SAMPLES = 3;
/** Any ordinary token, to decode from. */
const SOME_TOKEN = 264;
/** As long as a short question. */
const QUESTION_TOKENS = 16;

/** Decode steps of `count` queries on `context`, after each read a question: a call a step. */
export async function openStepper(
  runner: TrainableRunner,
  context: ResidentContext,
  count: number,
): Promise<() => Promise<unknown>> {
  const batch = runner.openStepBatch(context);
  const sequences = Array.from({ length: count }, () => batch.add());
  const question = Array.from({ length: QUESTION_TOKENS }, () => SOME_TOKEN);
  await batch.run(sequences.map((sequence) => ({ sequence, ids: question })));
  return () => batch.run(sequences.map((sequence) => ({ sequence, ids: [SOME_TOKEN] })));
}

/** Median milliseconds of such a step. */
async function stepMs(runner: TrainableRunner, context: ResidentContext, count: number): Promise<number> {
  const step = await openStepper(runner, context, count);
  const times: number[] = [];
  for (let i = 0; i < STEPS; i++) times.push(await timed(step));
  return median(times);
}

export const decode: Entry = {
  names: ["decode_1q", "decode_16q_vs_batched", "decode_16q_vs_single", "decode_32q_vs_16q"],
  async run(bench) {
    const [runner, llama] = [await bench.runner(), await bench.llama()];
    const context = await bench.resident(TOKENS, SPEC);
    const states = { one: await bench.llamaState(TOKENS), sixteen: await bench.llamaState(TOKENS, 16) };
    const contextTokens = TOKENS + LLAMA_SPARE_TOKENS;
    const llamaRate = async (sequences: number): Promise<number> => {
      const { stepMs: times } = await llama.decode({ steps: STEPS });
      return (sequences * 1_000) / median(times);
    };
    const rate = async (count: number): Promise<number> => (count * 1_000) / (await stepMs(runner, context, count));

    // One context of llama.cpp at a time: first alone, then sixteen, each beside ours.
    await llama.open({ sequences: 1, contextTokens, batchTokens: LLAMA_BATCH_TOKENS });
    const alone = await measure({
      one: { samples: SAMPLES, warmUps: 1, sample: () => rate(1) },
      sixteen: { samples: SAMPLES, warmUps: 1, sample: () => rate(16) },
      thirtyTwo: { samples: SAMPLES, warmUps: 1, sample: () => rate(32) },
      single: {
        samples: SAMPLES,
        warmUps: 1,
        sample: async () => {
          await llama.restore(states.one);
          return llamaRate(1);
        },
      },
    });
    await llama.open({ sequences: 16, contextTokens, batchTokens: LLAMA_BATCH_TOKENS });
    const together = await measure({
      sixteen: { samples: SAMPLES, warmUps: 1, sample: () => rate(16) },
      batched: {
        samples: SAMPLES,
        warmUps: 1,
        sample: async () => {
          await llama.restore(states.sixteen);
          return llamaRate(16);
        },
      },
    });
    const shared = { unit: "tokens/s", ratioOf: "rates" } as const;
    return [
      compare({
        ...shared,
        name: "decode_1q",
        summary: "one query alone, decoding on 4,096 tokens, keep 0.3",
        rivalName: `${LLAMA_NAME}, one sequence`,
        target: 1.5,
        ours: alone.one,
        rival: alone.single,
      }),
      compare({
        ...shared,
        name: "decode_16q_vs_batched",
        summary: "16 queries together on 4,096 tokens, keep 0.3",
        rivalName: `${LLAMA_NAME}, 16 sequences in one batch`,
        target: 4,
        ours: together.sixteen,
        rival: together.batched,
      }),
      compare({
        ...shared,
        name: "decode_16q_vs_single",
        summary: "16 queries together on 4,096 tokens, keep 0.3",
        rivalName: `${LLAMA_NAME}, one sequence`,
        target: 8,
        ours: alone.sixteen,
        rival: alone.single,
      }),
      compare({
        ...shared,
        name: "decode_32q_vs_16q",
        summary: "32 queries together on 4,096 tokens, keep 0.3",
        rivalName: "ours, 16 queries",
        target: 1,
        ours: alone.thirtyTwo,
        rival: alone.sixteen,
      }),
    ];
  },
};
