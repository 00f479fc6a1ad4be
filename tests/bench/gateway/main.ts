/**
 * What a gateway costs: one gateway process before a simulated decode worker, clients here.
 *
 *     npx tsx --conditions=kvault-source tests/bench/gateway/main.ts [SECONDS]
 *
 * Prints one line of JSON:
 * - `saturated`: answers of 16 tokens a second with 64 clients that never pause, and how much
 *   processor time of the gateway one takes: clients and worker share the machine with it;
 * - `half`: at 300 a second, time to first token and whole answers through the gateway, straight
 *   from the worker, and the difference;
 * - `overload`: a worker of 32 places of 10 ms a token, asked three times as often as it can
 *   answer: what the admitted saw against an unloaded worker, how soon the rest were refused, and
 *   the gateway's memory before and after.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { closedLoop, openLoop } from "./load.ts";
import { cpuSeconds, startRig, TOKENS } from "./rig.ts";

const CLIENTS = 64;
/** Streams a second: half of what a gateway has to carry. */
const HALF = 300;
/** Until the code that runs most is compiled. */
const WARM_UP_SECONDS = 5;
/** Of the worker that is overloaded. */
const PLACES = 32;
const TOKEN_MS = 10;
function residentMiB(pid: number): number {
  const [, kib = "0"] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Math.round(Number(kib) / 1_024);
}

const round = (value: number): number => Math.round(value * 100) / 100;

async function cost(seconds: number): Promise<object> {
  const rig = await startRig(0, 10_000);
  try {
    await closedLoop(rig.viaGateway, CLIENTS, WARM_UP_SECONDS);
    await openLoop(rig.straight, HALF, 2);
    const cpuBefore = cpuSeconds(rig.gateway.pid);
    const full = await closedLoop(rig.viaGateway, CLIENTS, seconds);
    const cpu = cpuSeconds(rig.gateway.pid) - cpuBefore;
    const perSecond = full.answered / full.seconds;
    await openLoop(rig.viaGateway, HALF, 2);
    const straight = await openLoop(rig.straight, HALF, seconds);
    const via = await openLoop(rig.viaGateway, HALF, seconds);
    return {
      saturated: {
        streamsPerSecond: round(perSecond),
        failed: full.failed,
        gatewayCpuMsPerStream: round((cpu * 1_000) / full.answered),
        streamsPerGatewayCpuSecond: round(full.answered / cpu),
      },
      half: {
        streamsPerSecond: HALF,
        failed: via.failed,
        via: { ttftMs: via.ttftMs, totalMs: via.totalMs },
        straight: { ttftMs: straight.ttftMs, totalMs: straight.totalMs },
        addedTtftP99Ms: round(via.ttftMs.p99 - straight.ttftMs.p99),
        addedTotalP99Ms: round(via.totalMs.p99 - straight.totalMs.p99),
      },
    };
  } finally {
    await rig.stop();
  }
}

async function overload(seconds: number): Promise<object> {
  const rig = await startRig(TOKEN_MS, PLACES);
  const capacity = PLACES / ((TOKENS * TOKEN_MS) / 1_000);
  try {
    await openLoop(rig.viaGateway, capacity / 4, 2);
    const unloaded = await openLoop(rig.viaGateway, capacity / 10, seconds);
    const before = residentMiB(rig.gateway.pid);
    const over = await openLoop(rig.viaGateway, capacity * 3, seconds);
    return {
      capacityPerSecond: capacity,
      offeredPerSecond: capacity * 3,
      answered: over.answered,
      refused: over.refused,
      failed: over.failed,
      unloadedTtftMs: unloaded.ttftMs,
      admittedTtftMs: over.ttftMs,
      refusedMs: over.refusedMs,
      gatewayMiB: { before, after: residentMiB(rig.gateway.pid) },
    };
  } finally {
    await rig.stop();
  }
}

const seconds = Number(process.argv[2] ?? 10);
const report = { processors: availableParallelism(), seconds, ...(await cost(seconds)), overload: await overload(seconds) };
process.stdout.write(`${JSON.stringify(report)}\n`);
