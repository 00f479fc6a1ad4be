/**
 * The life of a service as a process: started, until a signal or its own failure stops it.
 *
 * A stop drains; the exit code says whether it was clean: 0, or 1 when the service failed or did
 * not close as it should. One that comes while it starts ends it at once: nothing is under way yet,
 * and as the first process of a container it would not hear the signal without a handler. A second signal is not waited for differently: the drain has its limit.
 *
 * @module
 */
import type { RpcLogger } from "@kvault/rpc";
import type { Telemetry } from "@kvault/telemetry";

export interface RunServiceOptions<CloseOptions> {
  /** As in a sentence: `decode worker`. */
  readonly title: string;
  readonly log: RpcLogger;
  /** `fail` stops the service with exit code 1; while it starts, a failure is reported by the start itself. */
  readonly start: (fail: () => void) => Promise<{ close(options: CloseOptions): Promise<void> }>;
  readonly closeOptions: CloseOptions;
  /** Closed when the service is. */
  readonly telemetry?: Telemetry;
}

/** Resolves once started; from then on SIGTERM and SIGINT end the process. */
export async function runService<CloseOptions>(options: RunServiceOptions<CloseOptions>): Promise<void> {
  const { title, log, start, closeOptions, telemetry } = options;
  let running: { close(options: CloseOptions): Promise<void> } | undefined;
  let stopping = false;
  const stop = async (exitCode: number): Promise<void> => {
    if (stopping) return;
    if (running === undefined) {
      // Its own failure is told by the start.
      if (exitCode === 0) process.exit(0);
      return;
    }
    stopping = true;
    const unclean = await running.close(closeOptions).then(
      () => 0,
      (error: unknown) => {
        log.error({ err: error }, `${title} did not stop cleanly`);
        return 1;
      },
    );
    await telemetry?.close();
    process.exit(Math.max(exitCode, unclean));
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, `${title} stopping`);
      void stop(0);
    });
  }
  running = await start(() => void stop(1));
}
