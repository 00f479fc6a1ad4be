export { type ConformanceCheck, jobQueueConformance, type OpenTestQueue, type TestJob, type TestQueue } from "./conformance.ts";
