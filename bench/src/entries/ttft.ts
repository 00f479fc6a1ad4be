/**
 * Time to the first token of a question on a stored context of 4,096 tokens.
 *
 * Ours is what a client of the engine sees: the call, the process boundary, loading where the
 * context is not in memory, reading the question, the first token. The model is open on both
 * sides. `cold`: the record is on the disk and nothing of it in the engine. `warm`: resident.
 *
 * @module
 */
import type { Engine, LoadRequest } from "@kvault/runtime";
import { LLAMA_BATCH_TOKENS, LLAMA_SPARE_TOKENS } from "../harness/bench.ts";
import { compare } from "../harness/compare.ts";
import type { Entry } from "../harness/entry.ts";
import { measure } from "../harness/measure.ts";
import { LLAMA_NAME } from "../rival/llama.ts";
import { SPEC } from "./decode.ts";

const TOKENS = 4096;
export const QUESTION = "What does the author say about the colours of bodies? Answer in one sentence.";

/** Milliseconds from the call to the first token. */
export async function firstTokenMs(engine: Engine, { contextId, digest, model }: LoadRequest): Promise<number> {
  const startMs = performance.now();
  const source = { type: "stored", contextId, digest } as const;
  const sampling = { temperature: 0, topP: 1, topK: 0, seed: 0 };
  for await (const event of engine.query({ source, model, question: QUESTION, sampling, maxTokens: 1, stop: [] })) {
    if (event.type === "answer") return performance.now() - startMs;
  }
  throw new Error("Cannot measure the first token: the answer never came");
}

export const ttft: Entry = {
  names: ["ttft_cold", "ttft_warm"],
  async run(bench) {
    const [runner, engine, llama] = [await bench.runner(), await bench.engine(), await bench.llama()];
    const { manifest } = await bench.record(TOKENS, SPEC);
    const ids = await bench.ids(TOKENS);
    const question = [...runner.prompts.question(QUESTION)];
    const request = { contextId: manifest.contextId, digest: manifest.digest, model: bench.model };
    await engine.load(request);
    await llama.open({ sequences: 1, contextTokens: TOKENS + LLAMA_SPARE_TOKENS, batchTokens: LLAMA_BATCH_TOKENS });
    const { cold, warm, reading } = await measure({
      cold: {
        samples: 5,
        warmUps: 1,
        sample: async () => {
          await engine.evict(request.contextId);
          return firstTokenMs(engine, request);
        },
      },
      warm: { samples: 5, warmUps: 1, sample: () => firstTokenMs(engine, request) },
      reading: {
        samples: 1,
        warmUps: 0,
        sample: async () => {
          const { ms } = await llama.prefill({ ids });
          return ms + (await llama.firstToken({ ids: question })).ms;
        },
      },
    });
    const shared = { unit: "ms", ratioOf: "times", rivalName: `${LLAMA_NAME} reading the context`, rival: reading } as const;
    return [
      compare({
        ...shared,
        name: "ttft_cold",
        summary: "first token on a stored context of 4,096 tokens, keep 0.3, record on disk, worker cold",
        target: 25,
        ours: cold,
      }),
      compare({
        ...shared,
        name: "ttft_warm",
        summary: "first token on a stored context of 4,096 tokens, keep 0.3, worker warm",
        target: 100,
        ours: warm,
      }),
    ];
  },
};
