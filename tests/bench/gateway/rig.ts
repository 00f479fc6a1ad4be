/**
 * What the gateway's benches measure: a gateway in its own process before a simulated worker in
 * another.
 *
 * @module
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create, ExecuteRequestSchema, Inference, QueryRequestSchema, toBinary, Workers } from "@kvault/rpc";
import { type Api, build, connect } from "../../e2e/support/api.ts";
import { type Environment, freePort, type RunningProcess, startService } from "../../e2e/support/kvault.ts";
import { framed, LightClient } from "./light-grpc.ts";
import type { AskOnce } from "./load.ts";

export const TOKENS = 16;
/** Linux' clock ticks a second, as in /proc/PID/stat. */
const TICKS = 100;

export interface Rig {
  readonly api: Api;
  readonly gateway: RunningProcess;
  readonly viaGateway: AskOnce;
  readonly straight: AskOnce;
  stop(): Promise<void>;
}

/** `more`: variables of the gateway. */
export async function startRig(tokenMs: number, places: number, more: Environment = {}): Promise<Rig> {
  const folder = await mkdtemp(join(tmpdir(), "kvault-bench-"));
  const [workerAddress, address] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  const worker: ChildProcess = fork(new URL("./simulated-worker.ts", import.meta.url), [
    workerAddress,
    String(tokenMs),
    String(places),
    String(TOKENS),
  ]);
  await once(worker, "message");
  const env = {
    KVAULT_GATEWAY_ADDRESS: address,
    KVAULT_STORE_URL: `file:${folder}`,
    KVAULT_CACHE_DIR: folder,
    KVAULT_PREFILL_WORKERS: workerAddress,
    KVAULT_DECODE_WORKERS: workerAddress,
    KVAULT_LOG_LEVEL: "error",
    // As k8s/base/gateway starts it.
    NODE_OPTIONS: "--max-semi-space-size=32",
    ...more,
  };
  const gateway = await startService("gateway", env, address);
  const api = await connect(address);
  const { name } = await build(api, { model: "smollm2-135m", content: { content: { case: "text", value: "A text." } } });
  const asked = { question: "What?", limits: { maxTokens: TOKENS } };
  const query = framed(
    toBinary(QueryRequestSchema, create(QueryRequestSchema, { ...asked, source: { case: "context", value: name } })),
  );
  const execute = framed(
    toBinary(ExecuteRequestSchema, create(ExecuteRequestSchema, { ...asked, source: { case: "contextId", value: name } })),
  );
  const [toGateway, toWorker] = await Promise.all([LightClient.open(address), LightClient.open(workerAddress)]);
  return {
    api,
    gateway,
    viaGateway: () => toGateway.call(`/${Inference.typeName}/${Inference.method.query.name}`, query),
    straight: () => toWorker.call(`/${Workers.typeName}/${Workers.method.execute.name}`, execute),
    async stop() {
      toGateway.close();
      toWorker.close();
      api.close();
      await gateway.stop();
      worker.kill("SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Processor seconds a process has used. */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}
