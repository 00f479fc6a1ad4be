/**
 * Reading longer and longer texts: time and memory, 2K to 32K tokens.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ANSWER_RESERVE_TOKENS } from "@kvault/runtime";
import { buildRequest } from "@kvault/runtime/testing";
import { compare, exactly } from "../harness/compare.ts";
import type { Entry } from "../harness/entry.ts";

const LENGTHS: readonly number[] = [2_048, 4_096, 8_192, 16_384, 32_768];
/** Everything on one machine must fit this. */
const LIMIT_BYTES = 8 * 2 ** 30;
const SPEC = "keydiff|uniform|top-k(keep=0.3)|pre-rope(keys=8,values=4)";

/** One entry a length, so that each can be measured alone. */
export const longContexts: readonly Entry[] = LENGTHS.map((tokens) => ({
  names: [`long_${tokens / 1_024}k`],
  async run(bench) {
    const { identity } = (await bench.hub()).describe(bench.model);
    const engine = await bench.startEngine({ storeUrl: `file:${join(await bench.scratch(), `long-${tokens}`)}` });
    await engine.openModel(bench.model);
    const text = await bench.text(tokens === 32_768 ? tokens - ANSWER_RESERVE_TOKENS : tokens);
    const { manifest } = await engine.build(buildRequest(bench.model, identity, text, SPEC));
    const peak = peakBytes(engine.status().pid as number);
    await engine.close();
    return [
      compare({
        name: `long_${tokens / 1_024}k`,
        summary: `peak memory of an engine that builds ${manifest.nextPosition.toLocaleString("en")} tokens`,
        unit: "bytes",
        rivalName: "8 GiB",
        ratioOf: "cost",
        target: 1,
        ours: exactly(peak),
        rival: exactly(LIMIT_BYTES),
        details: { prefillSeconds: manifest.report.seconds.prefill, tokens: manifest.nextPosition },
      }),
    ];
  },
}));

/** Most that a process ever had in memory. */
function peakBytes(pid: number): number {
  const [, kib = "0"] = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) * 1_024;
}
