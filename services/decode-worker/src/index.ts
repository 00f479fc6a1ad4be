/**
 * A decode worker: answers queries on stored contexts. Starts in any process.
 *
 * @module
 */
export type { RunningWorker } from "@kvault/worker";
export { type DecodeWorkerOptions, startDecodeWorker } from "./start-decode-worker.ts";
