/**
 * A decode worker: answers queries on stored contexts. Starts in any process.
 *
 * @module
 */
export { type DecodeWorkerOptions, type RunningWorker, startDecodeWorker } from "./start-decode-worker.ts";
