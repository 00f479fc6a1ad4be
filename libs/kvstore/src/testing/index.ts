/** What a store must do, and a store that fails as told. @module */
export * from "./conformance.ts";
export * from "./faulty-store.ts";
export * from "./sample-record.ts";
