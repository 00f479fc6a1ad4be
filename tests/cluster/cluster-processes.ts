/**
 * A whole cluster on loopback: Redis (queue, catalogue, registry), an S3 server (records), one
 * gateway and any number of workers, each a process of its own.
 *
 * @module
 */
import { Cluster as ClusterService, createClient, openChannel } from "@kvault/rpc";
import { CACHE_DIR } from "../cache-dir.ts";
import { freePort, type RunningProcess, startService } from "../e2e/support/kvault.ts";
import { startRedis } from "../servers/redis-server.ts";
import { s3Url, startS3 } from "../servers/s3-server.ts";
import type { TestProcess } from "../servers/test-process.ts";

export interface ClusterPlan {
  readonly prefillWorkers: number;
  readonly decodeWorkers: number;
  /** Of each engine. */
  readonly threads: number;
  /** More variables of each role's processes. */
  readonly env?: Readonly<Record<"gateway" | "prefill" | "decode", Readonly<Record<string, string>>>>;
}

export interface ClusterProcesses {
  /** Of the gateway. */
  readonly address: string;
  readonly redis: TestProcess;
  readonly s3: TestProcess;
  readonly gateway: RunningProcess;
  readonly prefill: readonly RunningProcess[];
  readonly decode: readonly RunningProcess[];
  /** Stops everything, front first. */
  stop(): Promise<void>;
}

/** Longest wait for the gateway to know its workers. */
const KNOWN_MS = 30_000;

/** Starts it; resolves when the gateway knows every worker as live. What was started before a failure is stopped. */
export async function startClusterProcesses(plan: ClusterPlan): Promise<ClusterProcesses> {
  const started: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const end of started.splice(0).reverse()) await end();
  };
  const startOne = async (name: string, address: string, env: Readonly<Record<string, string>>): Promise<RunningProcess> => {
    const service = await startService(name, env, address);
    started.push(() => service.stop());
    return service;
  };
  const startMany = (name: string, count: number, env: Readonly<Record<string, string>>): Promise<RunningProcess[]> =>
    Promise.all(
      Array.from({ length: count }, async () => {
        const address = `127.0.0.1:${await freePort()}`;
        return startOne(name, address, { ...env, KVAULT_WORKER_ADDRESS: address });
      }),
    );
  try {
    const redis = await startRedis(["maxmemory-policy noeviction"]);
    started.push(() => redis.remove());
    const s3 = await startS3();
    started.push(() => s3.remove());
    const shared = {
      KVAULT_STORE_URL: s3Url(s3.port, "kvault"),
      KVAULT_CACHE_DIR: CACHE_DIR,
      KVAULT_QUEUE_URL: `redis://127.0.0.1:${redis.port}/0`,
      KVAULT_REGISTRY_URL: `redis://127.0.0.1:${redis.port}/1`,
    };
    const { KVAULT_QUEUE_URL: _, ...decodeEnv } = shared;
    const threads = { KVAULT_THREADS: `${plan.threads}` };
    const prefill = await startMany("prefill-worker", plan.prefillWorkers, { ...shared, ...threads, ...plan.env?.prefill });
    const decode = await startMany("decode-worker", plan.decodeWorkers, { ...decodeEnv, ...threads, ...plan.env?.decode });
    const address = `127.0.0.1:${await freePort()}`;
    const gateway = await startOne("gateway", address, {
      ...shared,
      ...plan.env?.gateway,
      KVAULT_GATEWAY_ADDRESS: address,
      KVAULT_CATALOGUE_URL: `redis://127.0.0.1:${redis.port}/1`,
    });
    await untilKnown(address, plan.prefillWorkers + plan.decodeWorkers);
    return { address, redis, s3, gateway, prefill, decode, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function untilKnown(address: string, count: number): Promise<void> {
  const channel = openChannel(address);
  try {
    const cluster = createClient(ClusterService, channel);
    for (const startedMs = performance.now(); ; ) {
      const { workers } = await cluster.listWorkers({});
      if (workers.filter(({ live }) => live).length >= count) return;
      if (performance.now() - startedMs > KNOWN_MS) throw new Error(`gateway knows ${workers.length} of ${count} workers`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  } finally {
    channel.close();
  }
}
