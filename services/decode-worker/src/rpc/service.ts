/**
 * The Workers service as a decode worker speaks it.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { implement, type ServiceImplementation, UNIMPLEMENTED, Workers } from "@kvault/rpc";
import type { Engine } from "@kvault/runtime";
import type { QuerySlots } from "../query-slots.ts";
import { evict } from "./evict.ts";
import { execute } from "./execute.ts";
import { load } from "./load.ts";
import { status } from "./status.ts";

export function workerService(engine: Engine, slots: QuerySlots): ServiceImplementation {
  return implement(Workers, {
    build: UNIMPLEMENTED,
    execute: execute({ engine, slots }),
    load: load(engine),
    evict: evict(engine),
    status: status(engine, randomUUID()),
  });
}
