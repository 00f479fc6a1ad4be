/**
 * The life of a service as a process: started, until a signal or its own failure stops it.
 *
 * A stop drains; the exit code says whether it was clean: 0, or 1 when the service failed or did
 * not close as it should. A second signal is not waited for differently: the drain has its limit.
 *
 * @module
 */
import type { RpcLogger } from "@kvault/rpc";

export interface RunServiceOptions<CloseOptions> {
  /** As in a sentence: `decode worker`. */
  readonly title: string;
  readonly log: RpcLogger;
  /** `fail` stops the service with exit code 1; while it starts, a failure is reported by the start itself. */
  readonly start: (fail: () => void) => Promise<{ close(options: CloseOptions): Promise<void> }>;
  readonly closeOptions: CloseOptions;
}

/** Resolves once started; from then on SIGTERM and SIGINT end the process. */
export async function runService<CloseOptions>(options: RunServiceOptions<CloseOptions>): Promise<void> {
  const { title, log, start, closeOptions } = options;
  let running: { close(options: CloseOptions): Promise<void> } | undefined;
  let stopping = false;
  const stop = async (exitCode: number): Promise<void> => {
    if (stopping || running === undefined) return;
    stopping = true;
    const unclean = await running.close(closeOptions).then(
      () => 0,
      (error: unknown) => {
        log.error({ err: error }, `${title} did not stop cleanly`);
        return 1;
      },
    );
    process.exit(Math.max(exitCode, unclean));
  };
  running = await start(() => void stop(1));
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, `${title} stopping`);
      void stop(0);
    });
  }
}
