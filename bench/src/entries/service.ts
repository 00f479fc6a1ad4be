/**
 * What the service costs: 16 questions at once through gRPC, gateway and worker included,
 * against the same questions asked of an engine process directly. Tokens of all answers a
 * second, from the first question to the last answer.
 *
 * @module
 */
import { join } from "node:path";
import { resolveSpec } from "@kvault/compression";
import { buildRequest } from "@kvault/runtime/testing";
import { build, connect } from "../../../tests/e2e/support/api.ts";
import { start } from "../../../tests/e2e/support/kvault.ts";
import { compare } from "../harness/compare.ts";
import type { Entry } from "../harness/entry.ts";
import { measure } from "../harness/measure.ts";

const TOKENS = 1024;
const SPEC = "keydiff|uniform|top-k(keep=0.5)|f16";
const QUERIES = 16;
const MAX_TOKENS = 32;
const SAMPLES = 5;

/** Tokens a second of what `ask` gives for every question, all at the same time. */
async function rateOf(ask: (question: string) => Promise<number>): Promise<number> {
  const startMs = performance.now();
  const questions = Array.from({ length: QUERIES }, (_, i) => `List everything the text says about light, item ${i + 1} first.`);
  const tokens = await Promise.all(questions.map(ask));
  return (tokens.reduce((sum, count) => sum + count, 0) * 1_000) / (performance.now() - startMs);
}

export const service: Entry = {
  names: ["service_efficiency"],
  async run(bench) {
    const folder = await bench.scratch();
    const text = await bench.text(TOKENS);
    const { model } = bench;
    const { identity } = (await bench.hub()).describe(model);
    const engine = await bench.startEngine({ storeUrl: `file:${join(folder, "direct")}` });
    const { manifest } = await engine.build(buildRequest(model, identity, text, SPEC));
    const { contextId, digest } = manifest;
    await engine.load({ contextId, digest, model });
    const up = await start(["up", "--json", "--address", "127.0.0.1:0", "--data-dir", join(folder, "up")]);
    const api = await connect(String(up.ready["address"]));
    try {
      const { name } = await build(api, {
        model,
        content: { content: { case: "text", value: text } },
        compression: { spec: resolveSpec(SPEC).spec },
      });
      const viaService = async (question: string): Promise<number> => {
        const source = { case: "context", value: name } as const;
        for await (const { event } of api.inference.query({ source, question, limits: { maxTokens: MAX_TOKENS } })) {
          if (event.case === "answer") return event.value.usage?.newTokens ?? 0;
        }
        throw new Error("Cannot count tokens: the stream ended without an answer");
      };
      const direct = async (question: string): Promise<number> => {
        const source = { type: "stored", contextId, digest } as const;
        const sampling = { temperature: 0, topP: 1, topK: 0, seed: 0 };
        for await (const event of engine.query({ source, model, question, sampling, maxTokens: MAX_TOKENS, stop: [] })) {
          if (event.type === "answer") return event.usage.newTokens;
        }
        throw new Error("Cannot count tokens: the stream ended without an answer");
      };
      const { ours, rival } = await measure({
        ours: { samples: SAMPLES, warmUps: 1, sample: () => rateOf(viaService) },
        rival: { samples: SAMPLES, warmUps: 1, sample: () => rateOf(direct) },
      });
      return [
        compare({
          name: "service_efficiency",
          summary: `${QUERIES} questions at once through gRPC, gateway and worker`,
          unit: "tokens/s",
          rivalName: "ours, an engine process asked directly",
          ratioOf: "rates",
          target: 0.9,
          ours,
          rival,
        }),
      ];
    } finally {
      api.close();
      await up.stop();
      await engine.close();
    }
  },
};
