/**
 * One service of the cluster as a process of its own: `service-main.ts '{"role": …}'`. As the
 * `kvault` command starts it, but for the toy engine, which makes every right answer known at a
 * rate that real weights do not reach here. Says `ready` to its parent, and goes when that goes.
 *
 * @module
 */
import { startDecodeWorker } from "@kvault/decode-worker";
import { startGateway } from "@kvault/gateway";
import { startPrefillWorker } from "@kvault/prefill-worker";
import { spawnToyEngine, TOY_CONFIG, TOY_IDENTITY } from "@kvault/runtime/testing";
import { startTelemetry } from "@kvault/telemetry";
import { createLog } from "./log.ts";

export interface ServicePlan {
  readonly name: string;
  readonly role: "gateway" | "prefill" | "decode";
  readonly address: string;
  /** Where others are told to reach it: a wire of ours. */
  readonly advertiseAddress: string;
  readonly engine: "toy" | "real";
  readonly storeUrl: string;
  readonly queueUrl: string;
  readonly sharedUrl: string;
  readonly cacheDir: string;
  /** Where its metrics can be asked for; nowhere when absent. */
  readonly metricsAddress?: string;
  /** Time for what is under way at SIGTERM; 5 s. */
  readonly drainMs?: number;
  /** Most queries of a decode worker; its default when absent. */
  readonly maxQueries?: number;
}

/** Expired and lost rows are looked for more often than in production: a run is short. */
const SWEEP_MS = 5_000;
/** Some contexts fit, not all: they come and go. */
const TOY_RESIDENT_BYTES = 8 * 2 ** 20;
const REAL_RESIDENT_BYTES = 512 * 2 ** 20;
const DRAIN_MS = 5_000;

const toy = (model: string) => ({
  name: model,
  fileName: model,
  sha256: TOY_IDENTITY.weightsSha256,
  bytes: 1,
  licence: "none",
  config: TOY_CONFIG,
  identity: TOY_IDENTITY,
  sources: [],
});

async function start(plan: ServicePlan): Promise<{ close(options: { readonly drainMs: number }): Promise<void> }> {
  const { address, advertiseAddress, storeUrl, queueUrl, sharedUrl, cacheDir } = plan;
  const isToy = plan.engine === "toy";
  const log = createLog(plan.name);
  // With int8 activations two tokens that are almost equally likely may change places with the rows of a run.
  const worker = {
    ...{ address, advertiseAddress, storeUrl, cacheDir, log, registryUrl: sharedUrl },
    ...{ offline: true, numThreads: 1, activations: "f32" as const, onEngineFailed: () => process.exit(1) },
    ...(isToy ? { spawn: spawnToyEngine } : {}),
  };
  switch (plan.role) {
    case "prefill":
      return startPrefillWorker({ ...worker, queueUrl, checkpointTokens: 512 });
    case "decode":
      return startDecodeWorker({
        ...{ ...worker, residentBytes: isToy ? TOY_RESIDENT_BYTES : REAL_RESIDENT_BYTES },
        ...(plan.maxQueries === undefined ? {} : { maxQueries: plan.maxQueries }),
      });
    case "gateway":
      return startGateway({
        ...{ address, queueUrl, log, store: storeUrl, catalogueUrl: sharedUrl, registryUrl: sharedUrl },
        ...{ prefillWorkers: [], decodeWorkers: [], sweepIntervalMs: SWEEP_MS },
        models: isToy ? { list: () => [toy("toy"), toy("toy-slow")], describe: toy, isPresent: async () => true } : cacheDir,
      });
  }
}

process.once("disconnect", () => process.exit(0));
const plan = JSON.parse(process.argv[2] ?? "") as ServicePlan;
await startTelemetry({ service: plan.name, metricsAddress: plan.metricsAddress, env: {} });
const service = await start(plan);
const { drainMs = DRAIN_MS } = plan;
process.once("SIGTERM", () => void service.close({ drainMs }).finally(() => process.exit(0)));
process.send?.("ready");
