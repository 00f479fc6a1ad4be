/**
 * The Workers service as a decode worker speaks it.
 *
 * @module
 */
import { implement, type ServiceImplementation, UNIMPLEMENTED, Workers } from "@kvault/rpc";
import { countTokens } from "./count-tokens.ts";
import { evict } from "./evict.ts";
import { type ExecuteDeps, execute } from "./execute.ts";
import { inspect } from "./inspect.ts";
import { load } from "./load.ts";
import { type StatusDeps, status } from "./status.ts";

export function workerService(deps: StatusDeps & ExecuteDeps): ServiceImplementation {
  const { engine, reads } = deps;
  return implement(Workers, {
    build: UNIMPLEMENTED,
    execute: execute(deps),
    load: load(reads),
    evict: evict(engine),
    countTokens: countTokens(engine),
    inspect: inspect(reads),
    status: status(deps),
  });
}
