/**
 * What telemetry costs the gateway: processor time of one answer of 16 tokens with it off, with
 * metrics, and with metrics and every trace, in turns so that a slower minute meets all three.
 *
 *     npx tsx --conditions=kvault-source tests/bench/gateway/telemetry.ts [SECONDS] [ROUNDS]
 *
 * Prints one line of JSON: milliseconds of processor time an answer (median of the rounds), and
 * their ratio to off.
 *
 * @module
 */
import { availableParallelism } from "node:os";
import { freePort } from "../../e2e/support/kvault.ts";
import { startOtlpReceiver } from "../../telemetry/otlp-receiver.ts";
import { closedLoop } from "./load.ts";
import { cpuSeconds, startRig } from "./rig.ts";

const CLIENTS = 32;

const [seconds = 4, rounds = 5] = process.argv.slice(2).map(Number);
const receiver = await startOtlpReceiver();
const variants = {
  off: {},
  metrics: { KVAULT_METRICS_ADDRESS: String(await freePort()) },
  tracesAndMetrics: { KVAULT_METRICS_ADDRESS: String(await freePort()), OTEL_EXPORTER_OTLP_ENDPOINT: receiver.endpoint },
};
type Variant = keyof typeof variants;
const names = Object.keys(variants) as Variant[];
const rigs = await Promise.all(names.map(async (name) => ({ name, rig: await startRig(0, 10_000, variants[name]) })));
const costs: Record<Variant, number[]> = { off: [], metrics: [], tracesAndMetrics: [] };
try {
  for (const { rig } of rigs) await closedLoop(rig.viaGateway, CLIENTS, 2);
  for (let round = 0; round < rounds; round++) {
    for (const { name, rig } of rigs) {
      const before = cpuSeconds(rig.gateway.pid);
      const { answered } = await closedLoop(rig.viaGateway, CLIENTS, seconds);
      costs[name].push(((cpuSeconds(rig.gateway.pid) - before) * 1_000) / answered);
    }
  }
} finally {
  for (const { rig } of rigs) await rig.stop();
  await receiver.close();
}
const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
const round = (value: number): number => Math.round(value * 1_000) / 1_000;
const cpuMsPerStream = Object.fromEntries(names.map((name) => [name, round(median(costs[name]))]));
const ratioToOff = Object.fromEntries(names.map((name) => [name, round(median(costs[name]) / median(costs.off))]));
console.log(JSON.stringify({ cpuMsPerStream, ratioToOff, spans: receiver.spans().length, processors: availableParallelism() }));
