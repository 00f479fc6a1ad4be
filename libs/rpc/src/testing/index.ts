export * from "./echo-service.ts";
export { type LongField, longFields } from "./long-fields.ts";
export { type Random, randomMessage } from "./random-message.ts";
