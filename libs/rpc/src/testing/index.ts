export * from "./echo-service.ts";
export { type LongField, longFields } from "./long-fields.ts";
export { type HealthStatus, probeHealth } from "./probe-health.ts";
export { type Random, randomMessage } from "./random-message.ts";
