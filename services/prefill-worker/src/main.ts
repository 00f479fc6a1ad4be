/**
 * Process entry of a prefill worker: configuration → wiring → signals. The only user of `process`.
 *
 * @module
 */
import { createLogger } from "@kvault/telemetry";
import { readConfig } from "./config.ts";
import { type RunningWorker, startPrefillWorker } from "./start-prefill-worker.ts";

async function main(): Promise<void> {
  const { logLevel, drainMs, ...options } = readConfig(process.env);
  const log = createLogger({ service: "prefill-worker", level: logLevel });
  const redacted = (url: string): string => url.replace(/\/\/[^@/]*@/, "//[redacted]@");
  const urls = {
    storeUrl: redacted(options.storeUrl),
    registryUrl: redacted(options.registryUrl),
    queueUrl: redacted(options.queueUrl),
  };
  log.info({ ...options, ...urls, drainMs, logLevel }, "prefill worker starting");
  let worker: RunningWorker | undefined;
  let stopping = false;
  const stop = async (exitCode: number): Promise<void> => {
    // While it starts, a failure is reported by the start itself.
    if (stopping || worker === undefined) return;
    stopping = true;
    await worker.close({ drainMs }).catch((error: unknown) => log.error({ err: error }, "prefill worker did not stop cleanly"));
    process.exit(exitCode);
  };
  worker = await startPrefillWorker({ ...options, log, onEngineFailed: () => void stop(1) });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, "prefill worker stopping");
      void stop(0);
    });
  }
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
