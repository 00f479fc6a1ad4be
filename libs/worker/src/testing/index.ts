/**
 * Checks that every worker is put to.
 *
 * @module
 */
export { openWorkerAccess, type WorkerAccess } from "./worker-access.ts";
