/**
 * A service with an engine: what prefill and decode workers have in common.
 *
 * @module
 */
export { readContent, readMessages } from "./content.ts";
export { type OpenedWorker, type RunningWorker, startWorker, type WorkerOptions } from "./worker.ts";
