/**
 * What every service does: reads its variables, starts, drains at a signal, exits.
 *
 * @module
 */
export { runService } from "./run-service.ts";
export {
  readVariables,
  type ServiceSettings,
  serviceSettings,
  serviceVariables,
  type WorkerSettings,
  wholeNumber,
  workerSettings,
  workerVariables,
} from "./variables.ts";
