/**
 * First token when the context is on another machine: Redis behind a link of 1 Gb/s. We fetch
 * the record, llama.cpp its saved state, both through the same store, in pieces of 8 MiB at most
 * and several at once; then each reads the question.
 *
 * The link is a proxy of ours that paces bytes to the rate (harness/shaped-link.ts).
 *
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openStore } from "@kvault/kvstore";
import { startRedis } from "../../../tests/servers/redis-server.ts";
import { LLAMA_BATCH_TOKENS, LLAMA_SPARE_TOKENS } from "../harness/bench.ts";
import { compare } from "../harness/compare.ts";
import type { Entry } from "../harness/entry.ts";
import { measure } from "../harness/measure.ts";
import { openShapedLink } from "../harness/shaped-link.ts";
import { LLAMA_NAME } from "../rival/llama.ts";
import { SPEC } from "./decode.ts";
import { firstTokenMs, QUESTION } from "./ttft.ts";

const TOKENS = 4096;
const BITS_PER_SECOND = 1e9;
const PIECE_BYTES = 8 * 2 ** 20;

export const link: Entry = {
  names: ["ttft_1gbit"],
  async run(bench) {
    const [runner, llama, folder] = [await bench.runner(), await bench.llama(), await bench.scratch()];
    const { manifest } = await bench.record(TOKENS, SPEC);
    const state = await bench.llamaState(TOKENS);
    const redis = await startRedis(["appendonly no"]);
    const shaped = await openShapedLink(redis.port, BITS_PER_SECOND);
    const direct = await openStore(`redis://127.0.0.1:${redis.port}`);
    const far = await openStore(`redis://127.0.0.1:${shaped.port}`);
    try {
      const local = await bench.store();
      for await (const key of local.list(`v1/contexts/${manifest.contextId}/`)) await direct.put(key, await local.get(key));
      const bytes = await readFile(state.path);
      const pieces = Array.from({ length: Math.ceil(bytes.length / PIECE_BYTES) }, (_, i) => `bench/state-${i}.bin`);
      for (const [i, key] of pieces.entries()) await direct.put(key, bytes.subarray(i * PIECE_BYTES, (i + 1) * PIECE_BYTES));

      const engine = await bench.startEngine({ storeUrl: `redis://127.0.0.1:${shaped.port}` });
      await engine.openModel(bench.model);
      const request = { contextId: manifest.contextId, digest: manifest.digest, model: bench.model };
      await engine.load(request);
      const path = join(folder, "fetched.state");
      await llama.open({ sequences: 1, contextTokens: TOKENS + LLAMA_SPARE_TOKENS, batchTokens: LLAMA_BATCH_TOKENS });
      const question = [...runner.prompts.question(QUESTION)];
      const { ours, rival } = await measure({
        ours: {
          samples: 5,
          warmUps: 1,
          sample: async () => {
            await engine.evict(request.contextId);
            return firstTokenMs(engine, request);
          },
        },
        rival: {
          samples: 5,
          warmUps: 1,
          sample: async () => {
            const startMs = performance.now();
            const fetched = await Promise.all(pieces.map((key) => far.get(key)));
            await writeFile(path, fetched);
            await llama.restore({ path });
            await llama.firstToken({ ids: question });
            return performance.now() - startMs;
          },
        },
      });
      await engine.close();
      return [
        compare({
          name: "ttft_1gbit",
          summary: "first token on 4,096 stored tokens, keep 0.3, fetched over 1 Gb/s (a pacing proxy)",
          unit: "ms",
          rivalName: `${LLAMA_NAME} fetching and restoring its saved state`,
          ratioOf: "times",
          target: 3,
          ours,
          rival,
        }),
      ];
    } finally {
      await far.close();
      await direct.close();
      await shaped.close();
      await redis.remove();
    }
  },
};
