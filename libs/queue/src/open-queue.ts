/**
 * URL → queue driver. A new driver is one file under drivers/ and one line here.
 *
 * @module
 */
import { KvaultError } from "@kvault/core";
import { LocalQueue } from "./drivers/local.ts";
import type { JobQueue, QueueOptions } from "./job-queue.ts";

const DRIVERS: ReadonlyMap<
  string,
  <Job, Result, Progress>(url: string, options: QueueOptions) => JobQueue<Job, Result, Progress>
> = new Map([
  ["local", <Job, Result, Progress>(_url: string, options: QueueOptions) => new LocalQueue<Job, Result, Progress>(options)],
]);

/** Opens the queue at `url`: `local:` is in this process. INVALID_ARGUMENT for an unknown scheme. */
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
