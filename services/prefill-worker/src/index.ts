/**
 * A prefill worker: builds records and publishes them. Starts in any process.
 *
 * @module
 */
export type { RunningWorker } from "@kvault/worker";
export { type PrefillWorkerOptions, startPrefillWorker } from "./start-prefill-worker.ts";
