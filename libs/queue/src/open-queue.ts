/**
 * URL → queue driver. A new driver is one file under drivers/ and one line here.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { BullmqQueue } from "./drivers/bullmq.ts";
import { LocalQueue } from "./drivers/local.ts";
import type { JobQueue, QueueOptions } from "./job-queue.ts";

type OpenDriver = <Job, Result, Progress>(url: string, options: QueueOptions) => JobQueue<Job, Result, Progress>;

const openBullmq: OpenDriver = (url, options) => new BullmqQueue(url, options);

const DRIVERS: ReadonlyMap<string, OpenDriver> = new Map<string, OpenDriver>([
  ["local", (_url, options) => new LocalQueue(options)],
  ["redis", openBullmq],
  ["rediss", openBullmq],
]);

/**
 * Opens the queue at `url`: `local:` is in this process, `redis://…` (drivers/bullmq-settings.ts)
 * is shared by many. INVALID_ARGUMENT for an unknown scheme or setting.
 */
export function openQueue<Job, Result, Progress>(url: string, options: QueueOptions = {}): JobQueue<Job, Result, Progress> {
  const scheme = url.slice(0, Math.max(0, url.indexOf(":")));
  const open = DRIVERS.get(scheme);
  if (open === undefined) {
    const known = [...DRIVERS.keys()].map((name) => `${name}:`).join(", ");
    throw new KvaultError("INVALID_ARGUMENT", `Cannot open queue "${scheme}:": known are ${known}`, {
      details: { field: "queueUrl", scheme },
    });
  }
  return open(url, options);
}
