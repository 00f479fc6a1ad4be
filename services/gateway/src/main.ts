/**
 * Process entry of the gateway: configuration → wiring → signals. The only user of `process`.
 *
 * @module
 */
import { watchTokenFile } from "@kvault/rpc";
import { runService } from "@kvault/service";
import { createLogger, startTelemetry } from "@kvault/telemetry";
import { readConfig } from "./config.ts";
import { startGateway } from "./start-gateway.ts";
import type { WorkerAccess } from "./workers/worker-link.ts";

async function main(): Promise<void> {
  const config = readConfig(process.env);
  const {
    storeUrl,
    cacheDir,
    logLevel,
    drainMs,
    drainNoticeMs,
    metricsAddress,
    serviceTokenFile,
    workerTls,
    workerServerName,
    ...rest
  } = config;
  const log = createLogger({ service: "gateway", level: logLevel });
  const telemetry = await startTelemetry({ service: "kvault-gateway", metricsAddress, env: process.env });
  const token = serviceTokenFile === undefined ? undefined : watchTokenFile(serviceTokenFile);
  const workerAccess: WorkerAccess = {
    allowPlaintext: rest.security.allowPlaintext ?? false,
    ...(token === undefined ? {} : { token: () => token.value }),
    ...(workerTls === undefined ? {} : { tls: workerTls }),
    ...(workerServerName === undefined ? {} : { serverName: workerServerName }),
  };
  const start = () => startGateway({ ...rest, store: storeUrl, models: cacheDir, workerAccess, log });
  await runService({ title: "gateway", log, start, closeOptions: { drainMs, noticeMs: drainNoticeMs }, telemetry });
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
