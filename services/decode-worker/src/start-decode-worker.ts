/**
 * A decode worker, wired: used by the process entry (main.ts) and, for the embedded mode, by
 * whoever starts all services in one process. Reads no environment and touches no process state.
 *
 * @module
 */
import { type RunningWorker, startWorker, type WorkerOptions } from "@kvault/worker";
import { InFlight } from "./in-flight.ts";
import { leasedReads } from "./leased-reads.ts";
import { LoadMeter } from "./load-meter.ts";
import { QuerySlots } from "./query-slots.ts";
import { workerService } from "./rpc/service.ts";
import { watchWorker } from "./worker-metrics.ts";

export interface DecodeWorkerOptions extends WorkerOptions {
  /** Queries answered at the same time; 64. */
  readonly maxQueries?: number;
}

const DEFAULT_MAX_QUERIES = 64;

/** Starts engine and server; resolves when queries are taken. */
export function startDecodeWorker(options: DecodeWorkerOptions): Promise<RunningWorker> {
  const { maxQueries = DEFAULT_MAX_QUERIES, ...worker } = options;
  return startWorker(worker, {
    role: "decode",
    capacity: maxQueries,
    open: ({ engine, leases, incarnation, isDraining, own }) => {
      const inFlight = new InFlight();
      const unwatch = watchWorker({ engine, inFlight, maxQueries, budgetBytes: worker.residentBytes });
      own({ close: async () => unwatch() });
      return {
        service: workerService({
          engine,
          reads: leasedReads(engine, leases),
          slots: new QuerySlots(maxQueries),
          meter: new LoadMeter(),
          inFlight,
          incarnation,
          residentLimitBytes: worker.residentBytes,
          isDraining,
        }),
        load: () => {
          const { residentContextIds, residentBytes, runningQueries } = engine.status();
          return { residentContextIds, residentBytes, runningQueries };
        },
      };
    },
  });
}
