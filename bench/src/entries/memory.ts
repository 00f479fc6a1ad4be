/**
 * Bytes: of records against llama.cpp's saved state, and of contexts in memory.
 *
 * @module
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildRequest } from "@kvault/runtime/testing";
import { compare, exactly } from "../harness/compare.ts";
import type { Entry } from "../harness/entry.ts";
import type { ResidentReply } from "../ours/resident-main.ts";
import { SPEC } from "./decode.ts";
import { firstTokenMs } from "./ttft.ts";

const TOKENS = 4096;
const SMALL_SPEC = "kvzip|global|top-k(keep=0.2)|pre-rope(keys=4,values=4)";

/** Bytes of a process that are in memory. */
function residentBytes(pid: number): number {
  const [, kib = "0"] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) * 1_024;
}

export const storedBytes: Entry = {
  names: ["bytes_vs_state", "bytes_vs_state_smallest"],
  async run(bench) {
    const state = await bench.llamaState(TOKENS);
    const bytesOf = async (spec: string): Promise<number> => (await bench.record(TOKENS, spec)).manifest.report.storedBytes;
    const shared = {
      unit: "bytes/token",
      rivalName: "llama.cpp's saved state",
      ratioOf: "cost",
      rival: exactly(state.bytes / TOKENS),
    } as const;
    return [
      compare({
        ...shared,
        name: "bytes_vs_state",
        summary: `a stored context, ${SPEC}`,
        target: 1 / 8,
        ours: exactly((await bytesOf(SPEC)) / TOKENS),
      }),
      compare({
        ...shared,
        name: "bytes_vs_state_smallest",
        summary: `a stored context, ${SMALL_SPEC}`,
        target: 1 / 15,
        ours: exactly((await bytesOf(SMALL_SPEC)) / TOKENS),
      }),
    ];
  },
};

const CONTEXTS = 8;
const RESIDENT_MAIN = fileURLToPath(new URL("../ours/resident-main.ts", import.meta.url));

export const residency: Entry = {
  names: ["resident_bytes"],
  async run(bench) {
    const { manifest } = await bench.record(TOKENS, SPEC);
    const child = fork(RESIDENT_MAIN, [bench.storeUrl, manifest.contextId, String(CONTEXTS)], {
      execArgv: [...process.execArgv, "--expose-gc"],
    });
    const [reply] = (await once(child, "message")) as [ResidentReply];
    return [
      compare({
        name: "resident_bytes",
        summary: `memory of ${CONTEXTS} resident contexts of 4,096 tokens, keep 0.3`,
        unit: "bytes",
        rivalName: "their kept keys and values in f32",
        ratioOf: "cost",
        target: 1.15,
        ours: exactly(reply.grownBytes),
        rival: exactly(reply.keptBytes),
      }),
    ];
  },
};

const CHURN = 1_000;
/** Contexts after which memory has to stand still. */
const SETTLED = 300;
const SMALL_MODEL = "smollm2-135m";

export const churn: Entry = {
  names: ["churn_growth"],
  async run(bench) {
    const engine = await bench.startEngine({ storeUrl: `file:${join(await bench.scratch(), "churn")}`, residentBytes: 2 ** 26 });
    await engine.openModel(SMALL_MODEL);
    const { identity } = (await bench.hub()).describe(SMALL_MODEL);
    const pid = engine.status().pid as number;
    const samples: number[] = [];
    for (let n = 0; n < CHURN; n++) {
      const request = buildRequest(SMALL_MODEL, identity, `Entry ${n}: the number of this entry is ${n * 7919}.`, "keydiff");
      await engine.build(request);
      await firstTokenMs(engine, { contextId: request.contextId, digest: request.digest, model: SMALL_MODEL });
      await engine.evict(request.contextId);
      if (n >= SETTLED) samples.push(residentBytes(pid));
    }
    const tail = samples.slice(-100);
    const head = samples.slice(0, 100);
    return [
      compare({
        name: "churn_growth",
        summary: "an engine's memory over the last 100 of 1,000 contexts made, queried and let go",
        unit: "bytes",
        rivalName: "ours, contexts 300 to 400",
        ratioOf: "cost",
        target: 1.02,
        ours: { values: tail, othersCores: 0 },
        rival: { values: head, othersCores: 0 },
      }),
    ];
  },
};
