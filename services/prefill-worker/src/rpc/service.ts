/**
 * The Workers service as a prefill worker speaks it.
 *
 * @module
 */
import { implement, type ServiceImplementation, UNIMPLEMENTED, Workers } from "@kvault/rpc";
import type { Engine } from "@kvault/runtime";
import type { BuildSlots } from "../build-slots.ts";
import { build } from "./build.ts";
import { status } from "./status.ts";

export function workerService(engine: Engine, slots: BuildSlots, incarnation: string): ServiceImplementation {
  return implement(Workers, {
    build: build({ engine, slots }),
    execute: UNIMPLEMENTED,
    load: UNIMPLEMENTED,
    evict: UNIMPLEMENTED,
    countTokens: UNIMPLEMENTED,
    inspect: UNIMPLEMENTED,
    status: status(engine, incarnation),
  });
}
