/**
 * The three services as three processes on loopback, over one store folder.
 *
 * @module
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient, openChannel, type StatusResponse, Workers } from "@kvault/rpc";
import { CACHE_DIR } from "../../cache-dir.ts";
import { type Api, connect } from "./api.ts";
import { freePort, type RunningProcess, startService } from "./kvault.ts";

/** Longest wait for work under way to end. */
const QUIET_MS = 60_000;

export interface Cluster {
  readonly api: Api;
  readonly gateway: RunningProcess;
  readonly prefill: RunningProcess;
  readonly decode: RunningProcess;
  /** What both workers say of themselves; fails when one does not answer. */
  status(): Promise<{ readonly prefill: StatusResponse; readonly decode: StatusResponse }>;
  /** Resolves when no build and no query runs. */
  quiet(): Promise<void>;
  /** Ids of contexts that have anything in the store. */
  records(): string[];
  stop(): Promise<void>;
}

export async function startCluster(folder: string): Promise<Cluster> {
  const address = async (): Promise<string> => `127.0.0.1:${await freePort()}`;
  const [gatewayAddress, prefillAddress, decodeAddress] = [await address(), await address(), await address()];
  const store = join(folder, "store");
  const env = { KVAULT_STORE_URL: `file:${store}`, KVAULT_CACHE_DIR: CACHE_DIR };
  const gatewayEnv = {
    KVAULT_GATEWAY_ADDRESS: gatewayAddress,
    KVAULT_PREFILL_WORKERS: prefillAddress,
    KVAULT_DECODE_WORKERS: decodeAddress,
  };
  const [prefill, decode, gateway] = await Promise.all([
    startService("prefill-worker", { ...env, KVAULT_WORKER_ADDRESS: prefillAddress }, prefillAddress),
    startService("decode-worker", { ...env, KVAULT_WORKER_ADDRESS: decodeAddress }, decodeAddress),
    startService("gateway", { ...env, ...gatewayEnv }, gatewayAddress),
  ]);
  const api = await connect(gatewayAddress);
  const channels = [openChannel(prefillAddress), openChannel(decodeAddress)] as const;
  const [prefillClient, decodeClient] = [createClient(Workers, channels[0]), createClient(Workers, channels[1])];
  const status = async (): ReturnType<Cluster["status"]> => ({
    prefill: await prefillClient.status({}),
    decode: await decodeClient.status({}),
  });
  return {
    api,
    gateway,
    prefill,
    decode,
    status,
    async quiet() {
      const started = performance.now();
      for (;;) {
        const { prefill: builds, decode: queries } = await status();
        if (builds.runningBuilds === 0 && queries.runningQueries === 0) return;
        if (performance.now() - started > QUIET_MS) throw new Error(`still busy after ${QUIET_MS} ms`);
        await sleep(50);
      }
    },
    records: () => {
      const contexts = join(store, "v1", "contexts");
      return existsSync(contexts) ? readdirSync(contexts) : [];
    },
    async stop() {
      api.close();
      for (const channel of channels) channel.close();
      for (const service of [gateway, decode, prefill]) await service.stop();
    },
  };
}
