/**
 * A worker as a process of its own, for tests that kill it: `queue-worker.ts <queue URL>`. Says
 * what it does to its parent; a job of value 0 runs until it is aborted, any other returns at once.
 *
 * @module
 */
import { abortError } from "@kvault/core";
import { openQueue } from "@kvault/queue";

export interface WorkerMessage {
  readonly type: "ready" | "started" | "aborted" | "closed";
  readonly attempt?: number;
  readonly code?: string;
}

const say = (message: WorkerMessage): void => void process.send?.(message);

const queue = openQueue<{ value: number }, string, number>(process.argv[2] ?? "");
await queue.ready();
queue.process(
  async ({ value }, { signal, attempt }) => {
    say({ type: "started", attempt });
    if (value !== 0) return `worker ${process.pid}`;
    await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
    const error = abortError(signal);
    say({ type: "aborted", code: error.code });
    throw error;
  },
  { concurrency: 1 },
);
process.once("SIGTERM", () => {
  void queue.close({ drainMs: 0 }).then(() => {
    say({ type: "closed" });
    process.disconnect();
  });
});
say({ type: "ready" });
