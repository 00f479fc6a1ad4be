/**
 * The whole system in one process: the three services of a cluster, each on an address of its
 * own, with the same code and the same gRPC between them. Workers listen on unix sockets in a
 * folder that only this user may enter; engines are child processes.
 *
 * @module
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startDecodeWorker } from "@kvault/decode-worker";
import { startGateway } from "@kvault/gateway";
import { startPrefillWorker } from "@kvault/prefill-worker";
import type { SecuritySettings } from "@kvault/rpc";
import { createLogger, type LogLevel } from "@kvault/telemetry";

/** Resident contexts of the decode worker before the least recently used is let go. */
const RESIDENT_BYTES = 2 * 2 ** 30;

export interface EmbeddedOptions {
  /** Of the gateway: `host:port` (port 0: a free one) or `unix:/path`. */
  readonly address: string;
  /** Of the HTTP front, `host:port`; there is none when absent. */
  readonly httpAddress?: string;
  readonly storeUrl: string;
  readonly cacheDir: string;
  readonly offline: boolean;
  /** Of each engine; they seldom work at the same time. */
  readonly threads: number;
  /** What callers of the gateway have to show: on loopback and unix sockets nothing, when absent. */
  readonly security?: SecuritySettings;
  /** Where every call leaves a line. */
  readonly auditFile?: string;
  /** Master keys: records are then encrypted. */
  readonly masterKeyFile?: string;
  /** `silent` when absent. */
  readonly logLevel?: LogLevel;
  /** Called once when an engine cannot be kept alive. */
  readonly onEngineFailed?: () => void;
}

export interface EmbeddedStack {
  /** Of the gateway, with the real port. */
  readonly address: string;
  /** Of the HTTP front, with the real port. */
  readonly httpAddress: string | undefined;
  /** Lets calls and builds go on for `drainMs`, then cuts them; ends the engines. Idempotent. */
  close(options?: { readonly drainMs?: number }): Promise<void>;
}

interface Running {
  close(options: { readonly drainMs: number }): Promise<void>;
}

const DEFAULT_DRAIN_MS = 10_000;

/** Starts everything; resolves when the gateway takes calls. What was started before a failure is closed. */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedStack> {
  const { storeUrl, cacheDir, offline, threads, logLevel = "silent", onEngineFailed } = options;
  const { security = {}, auditFile, masterKeyFile } = options;
  const folder = await mkdtemp(join(tmpdir(), "kvault-up-"));
  const started: Running[] = [];
  /** Front first, so that nothing calls what is gone. */
  const closeAll = async (drainMs: number): Promise<void> => {
    try {
      for (const service of started.reverse()) await service.close({ drainMs });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };
  const engine = {
    storeUrl,
    cacheDir,
    offline,
    numThreads: threads,
    activations: "int8" as const,
    ...(masterKeyFile === undefined ? {} : { masterKeyFile }),
    ...(onEngineFailed === undefined ? {} : { onEngineFailed }),
  };
  const socket = (name: string): string => `unix:${join(folder, name)}`;
  try {
    const workers = await Promise.allSettled([
      startPrefillWorker({
        ...engine,
        address: socket("prefill.sock"),
        log: createLogger({ service: "prefill-worker", level: logLevel }),
      }),
      startDecodeWorker({
        ...engine,
        address: socket("decode.sock"),
        residentBytes: RESIDENT_BYTES,
        log: createLogger({ service: "decode-worker", level: logLevel }),
      }),
    ]);
    for (const worker of workers) if (worker.status === "fulfilled") started.push(worker.value);
    for (const worker of workers) if (worker.status === "rejected") throw worker.reason;
    const gateway = await startGateway({
      address: options.address,
      ...(options.httpAddress === undefined ? {} : { httpAddress: options.httpAddress }),
      store: storeUrl,
      models: cacheDir,
      queueUrl: "local:",
      security,
      ...(auditFile === undefined ? {} : { auditFile }),
      prefillWorkers: [socket("prefill.sock")],
      decodeWorkers: [socket("decode.sock")],
      log: createLogger({ service: "gateway", level: logLevel }),
    });
    started.push(gateway);
    let closing: Promise<void> | undefined;
    return {
      address: gateway.address,
      httpAddress: gateway.httpAddress,
      close({ drainMs = DEFAULT_DRAIN_MS } = {}) {
        closing ??= closeAll(drainMs);
        return closing;
      },
    };
  } catch (error) {
    await closeAll(0);
    throw error;
  }
}
