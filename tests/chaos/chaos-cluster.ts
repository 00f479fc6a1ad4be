/**
 * The whole cluster as real processes on loopback, every connection between two of them over a wire
 * of ours: Redis for the queue, Redis for catalogue, registry and leases, an S3 server behind a
 * proxy that can spoil its answers, gateways, prefill and decode workers.
 *
 * @module
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { freePort } from "../e2e/support/kvault.ts";
import { type FaultProxy, startFaultProxy } from "../servers/fault-proxy.ts";
import { startRedis } from "../servers/redis-server.ts";
import { S3_BUCKET, s3Url, startS3 } from "../servers/s3-server.ts";
import type { TestProcess } from "../servers/test-process.ts";
import { NUM_PROCESSES, type Role } from "./plan.ts";
import { ServiceProcess } from "./service-process.ts";
import { TcpLink } from "./tcp-link.ts";

const STORE_PREFIX = "kvault";
const SERVICES = ["prefill", "decode", "gateway"] as const;

export interface ChaosCluster {
  /** Where clients reach each gateway. */
  readonly addresses: readonly string[];
  readonly servers: Readonly<Record<"queue" | "shared" | "s3", TestProcess>>;
  readonly services: Readonly<Record<(typeof SERVICES)[number], readonly ServiceProcess[]>>;
  readonly s3Faults: FaultProxy;
  /** Folder of the records, as the S3 server keeps them. */
  readonly recordsFolder: string;
  /** The wires of a process: those it is reached by, and for a service those it reaches others by. */
  linksOf(role: Role, index: number): readonly TcpLink[];
  stop(): Promise<void>;
}

export interface ChaosClusterOptions {
  readonly engine: "toy" | "real";
  readonly cacheDir: string;
  /** Where every service leaves what it says. */
  readonly logFolder: string;
}

/** Starts it; resolves when every service takes calls. */
export async function startChaosCluster({ engine, cacheDir, logFolder }: ChaosClusterOptions): Promise<ChaosCluster> {
  const started: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    // Services of a kind together: each may wait for calls that are cut.
    for (const end of started.splice(0).reverse()) await end().catch(() => undefined);
  };
  try {
    await rm(logFolder, { recursive: true, force: true });
    await mkdir(logFolder, { recursive: true });
    const workFolder = await mkdtemp(path.join(tmpdir(), "kvault-chaos-"));
    started.push(() => rm(workFolder, { recursive: true, force: true }));
    const redis = async (): Promise<TestProcess> => {
      const server = await startRedis(["maxmemory-policy noeviction"]);
      started.push(() => server.remove());
      return server;
    };
    const [queue, shared] = [await redis(), await redis()];
    const s3 = await startS3();
    started.push(() => s3.remove());
    const s3Faults = await startFaultProxy(s3.port);
    started.push(() => s3Faults.close());

    const wires = new Map<string, TcpLink[]>();
    /** A wire from `from` to `to`: each of them names it. */
    const link = async (from: string, to: string, port: number): Promise<number> => {
      const opened = await TcpLink.open(`${from} to ${to}`, port);
      started.push(() => opened.close());
      for (const end of [from, to]) wires.set(end, [...(wires.get(end) ?? []), opened]);
      return opened.port;
    };
    const addresses: string[] = [];
    const startService = async (role: (typeof SERVICES)[number], index: number): Promise<ServiceProcess> => {
      const name = `${role} ${index}`;
      const port = await freePort();
      const reached = `127.0.0.1:${await link(role === "gateway" ? "clients" : "gateways", name, port)}`;
      if (role === "gateway") addresses.push(reached);
      const service = await ServiceProcess.start(
        {
          ...{ name, role, engine, cacheDir: engine === "toy" ? workFolder : cacheDir },
          address: `127.0.0.1:${port}`,
          advertiseAddress: reached,
          storeUrl: s3Url(await link(name, "s3 0", s3Faults.port), STORE_PREFIX),
          queueUrl: role === "decode" ? "local:" : `redis://127.0.0.1:${await link(name, "queue 0", queue.port)}/0`,
          sharedUrl: `redis://127.0.0.1:${await link(name, "shared 0", shared.port)}/0`,
        },
        path.join(logFolder, `${role}-${index}.log`),
      );
      started.push(() => service.stop());
      return service;
    };
    const startAll = (role: (typeof SERVICES)[number]): Promise<ServiceProcess[]> =>
      Promise.all(Array.from({ length: NUM_PROCESSES[role] }, (_, index) => startService(role, index)));
    const services = { prefill: await startAll("prefill"), decode: await startAll("decode"), gateway: await startAll("gateway") };
    await Promise.all(Object.values(services).flatMap((all) => all.map((service) => service.ready())));
    return {
      addresses,
      servers: { queue, shared, s3 },
      services,
      s3Faults,
      recordsFolder: path.join(s3.directory, S3_BUCKET, STORE_PREFIX, "v1", "contexts"),
      linksOf: (role, index) => wires.get(`${role} ${index}`) ?? [],
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
