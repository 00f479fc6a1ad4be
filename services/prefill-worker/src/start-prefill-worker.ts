/**
 * A prefill worker, wired: used by the process entry (main.ts) and, for the embedded mode, by
 * whoever starts all services in one process. Reads no environment and touches no process state.
 *
 * @module
 */
import type { QueuedBuild } from "@kvault/cluster";
import { openKeyRing, openStore } from "@kvault/kvstore";
import { openQueue } from "@kvault/queue";
import type { JsonValue } from "@kvault/rpc";
import { type OpenedWorker, type RunningWorker, startWorker, type WorkerOptions } from "@kvault/worker";
import { watchBuilds } from "./build-metrics.ts";
import { BuildSlots } from "./build-slots.ts";
import { type SharedBuildQueue, takeBuilds } from "./queued-builds.ts";
import { workerService } from "./rpc/service.ts";

export interface PrefillWorkerOptions extends Omit<WorkerOptions, "residentBytes"> {
  /** Builds that may wait behind the one that runs; 2. */
  readonly maxWaitingBuilds?: number;
  /** A shared queue that builds are taken from; without one gateways bring them. */
  readonly queueUrl?: string;
}

const DEFAULT_MAX_WAITING_BUILDS = 2;
/** Gateways keep such a queue to themselves. */
const LOCAL_QUEUE = "local:";

/** Starts engine and server; resolves when builds are taken. */
export function startPrefillWorker(options: PrefillWorkerOptions): Promise<RunningWorker> {
  const { maxWaitingBuilds = DEFAULT_MAX_WAITING_BUILDS, queueUrl = LOCAL_QUEUE, ...worker } = options;
  const { storeUrl, masterKeyFile, log } = worker;
  const takeQueued = async ({ engine, leases, own }: OpenedWorker): Promise<SharedBuildQueue | undefined> => {
    if (queueUrl === LOCAL_QUEUE) return undefined;
    const store = own(await openStore(storeUrl));
    const queue: SharedBuildQueue = own(openQueue<QueuedBuild, JsonValue, JsonValue>(queueUrl));
    await queue.ready();
    takeBuilds(queue, { engine, store, keys: await openKeyRing(store, masterKeyFile), leases, log });
    return queue;
  };
  // Nothing is resident here: a build holds its cache and lets it go.
  return startWorker(
    { ...worker, residentBytes: 0 },
    {
      role: "prefill",
      capacity: 1,
      open: (opened) => {
        const unwatch = watchBuilds(opened.engine);
        opened.own({ close: async () => unwatch() });
        return {
          service: workerService(opened.engine, new BuildSlots(maxWaitingBuilds), opened.incarnation),
          takeWork: () => takeQueued(opened),
          load: () => ({ residentContextIds: [], residentBytes: 0, runningQueries: 0 }),
        };
      },
    },
  );
}
