/**
 * Process entry of a decode worker: configuration → wiring → signals. The only user of `process`.
 *
 * @module
 */
import { runService } from "@kvault/service";
import { createLogger, startTelemetry } from "@kvault/telemetry";
import { readConfig } from "./config.ts";
import { startDecodeWorker } from "./start-decode-worker.ts";

async function main(): Promise<void> {
  const { logLevel, drainMs, metricsAddress, ...options } = readConfig(process.env);
  const log = createLogger({ service: "decode-worker", level: logLevel });
  const telemetry = await startTelemetry({ service: "kvault-decode-worker", metricsAddress, env: process.env });
  const redacted = (url: string): string => url.replace(/\/\/[^@/]*@/, "//[redacted]@");
  const urls = { storeUrl: redacted(options.storeUrl), registryUrl: redacted(options.registryUrl) };
  log.info({ ...options, ...urls, drainMs, logLevel, metricsAddress }, "decode worker starting");
  const start = (onEngineFailed: () => void) => startDecodeWorker({ ...options, log, onEngineFailed });
  await runService({ title: "decode worker", log, start, closeOptions: { drainMs }, telemetry });
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
