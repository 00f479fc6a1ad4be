/**
 * Build jobs: one contract, drivers chosen by URL.
 *
 * @module
 */
export type {
  AddedJob,
  AddOptions,
  JobCall,
  JobEvent,
  JobHandler,
  JobQueue,
  QueueAbilities,
  QueueOptions,
} from "./job-queue.ts";
export { openQueue } from "./open-queue.ts";
