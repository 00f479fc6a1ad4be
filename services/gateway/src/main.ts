/**
 * Process entry of the gateway: configuration → wiring → signals. The only user of `process`.
 *
 * @module
 */
import { createLogger } from "@kvault/telemetry";
import { readConfig } from "./config.ts";
import { startGateway } from "./start-gateway.ts";

async function main(): Promise<void> {
  const { address, storeUrl, cacheDir, logLevel, drainMs, drainNoticeMs, ...rest } = readConfig(process.env);
  const log = createLogger({ service: "gateway", level: logLevel });
  const gateway = await startGateway({ ...rest, address, store: storeUrl, models: cacheDir, log });

  const stop = (signal: NodeJS.Signals): void => {
    log.info({ signal }, "gateway stopping");
    gateway.close({ drainMs, noticeMs: drainNoticeMs }).then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, "gateway did not stop cleanly");
        process.exit(1);
      },
    );
  };
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(1);
});
