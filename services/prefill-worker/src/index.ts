/**
 * A prefill worker: builds records and publishes them. Starts in any process.
 *
 * @module
 */
export { type PrefillWorkerOptions, type RunningWorker, startPrefillWorker } from "./start-prefill-worker.ts";
